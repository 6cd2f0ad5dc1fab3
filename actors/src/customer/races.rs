//! Races of this node against others that write the same account.

/// Races lost in a row before decisions are made under the account's lock, where none is lost.
const LOST_MAX: u8 = 2;
/// Locked decisions in a row for which no other node had written the account, before it is no longer locked.
const UNDISTURBED_MIN: u8 = 16;

/// How races against other nodes that write this account went.
#[derive(Debug, Default)]
pub(super) struct Races {
    /// Lost in a row.
    lost: u8,
    /// Locked decisions in a row for which no other node had written the account.
    undisturbed: u8,
}

impl Races {
    /// Whether to decide under the account's lock.
    pub(super) fn needs_lock(&self) -> bool {
        self.lost >= LOST_MAX
    }

    /// Notes that another node wrote the account before this one could.
    pub(super) fn record_loss(&mut self) {
        self.lost = self.lost.saturating_add(1);
        self.undisturbed = 0;
    }

    /// Notes a commit that no other node was ahead of.
    pub(super) fn record_win(&mut self) {
        if !self.needs_lock() {
            self.lost = 0;
        }
    }

    /// Notes whether the locked account was as this node had written it.
    pub(super) fn record_locked(&mut self, is_own: bool) {
        self.undisturbed = if is_own { self.undisturbed + 1 } else { 0 };
        if self.undisturbed >= UNDISTURBED_MIN {
            *self = Self::default();
        }
    }
}
