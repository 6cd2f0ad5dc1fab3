//! Rows of `bonuses`: what the credits for a first payment method were given for.

use super::{execute, get, query_one};
use crate::clock::TimeMs;
use crate::domain::bonus::Bonus;
use crate::error::{Error, Result};
use sea_orm::ConnectionTrait;

/// Whether another customer got the bonus for the same mailbox or card.
pub async fn bonus_is_taken(db: &impl ConnectionTrait, bonus: &Bonus) -> Result<bool> {
    for given_for in &bonus.given_for {
        let sql = "SELECT customer_id FROM bonuses WHERE given_for = $1";
        let found = query_one(db, sql, [given_for.as_str().into()]).await?;
        let owner = found.map(|row| get::<String>(&row, "customer_id")).transpose()?;
        if owner.is_some_and(|owner| owner != bonus.customer_id.as_str()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Records a bonus.
///
/// # Errors
/// `Conflict` if another customer took it at the same moment.
pub async fn bonus_put(db: &impl ConnectionTrait, bonus: &Bonus, now_ms: TimeMs) -> Result<()> {
    for given_for in &bonus.given_for {
        let sql = "INSERT INTO bonuses (given_for, customer_id, given_at_ms) VALUES ($1, $2, $3) \
                   ON CONFLICT (given_for) DO UPDATE SET given_for = excluded.given_for \
                   WHERE bonuses.customer_id = excluded.customer_id";
        let values = [given_for.as_str().into(), bonus.customer_id.as_str().into(), now_ms.into()];
        if execute(db, sql, values).await? == 0 {
            return Err(Error::conflict("bonus_taken", "another customer got the bonus for this mailbox or card"));
        }
    }
    Ok(())
}
