//! Counts races against other nodes that write the same account.

/// Races lost in a row before the account is locked for decisions.
const LOST_MAX: u8 = 2;
/// Locked decisions in a row without a write by another node before the lock is no longer taken.
const UNDISTURBED_MIN: u8 = 16;

/// Results of recent races for one account.
#[derive(Debug, Default)]
pub(super) struct Races {
    /// Lost in a row.
    lost: u8,
    /// Locked decisions in a row without a write by another node.
    undisturbed: u8,
}

impl Races {
    /// Whether to decide under the account's lock.
    pub(super) fn needs_lock(&self) -> bool {
        self.lost >= LOST_MAX
    }

    /// Records that another node wrote the account first.
    pub(super) fn record_loss(&mut self) {
        self.lost = self.lost.saturating_add(1);
        self.undisturbed = 0;
    }

    /// Records a commit. While the account is locked for decisions there is no race to win, so it changes nothing.
    pub(super) fn record_win(&mut self) {
        if !self.needs_lock() {
            self.lost = 0;
        }
    }

    /// Records whether the locked account was unchanged since this node's last write.
    pub(super) fn record_locked(&mut self, is_unchanged: bool) {
        self.undisturbed = if is_unchanged { self.undisturbed + 1 } else { 0 };
        if self.undisturbed >= UNDISTURBED_MIN {
            *self = Self::default();
        }
    }
}
