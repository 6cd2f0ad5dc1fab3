//! The chain of the audit log: what seals it, and what a known head proves.

use super::*;
use crate::infra::store::audit::{audit_head, audit_sealed_list, audit_unsealed_list};

#[tokio::test]
async fn rows_are_sealed_in_order_and_those_of_later_batches_follow() {
    let dir = Dir::new();
    let db = healthy(&dir.file("sealed")).await;
    let before = audit_head(db.read()).await.unwrap();
    let sealed = audit_sealed_list(db.read(), 0, before.seal, 1_000).await.unwrap();
    assert!(sealed.is_sorted_by_key(|next| &next.row.id), "{sealed:#?}");
    sign_up(&db, "later", 5).await;
    assert_eq!(audit_head(db.read()).await.unwrap(), before, "nothing seals but the sealer");
    assert!(proven(&db).await.holds(), "rows may wait");
    let mut seals = Vec::new();
    for now_ms in [600_000, 600_001] {
        assert!(!seal_audit_log(&db, now_ms).await.unwrap());
        seals.push(audit_head(db.read()).await.unwrap());
    }
    assert_eq!(seals[0].seal, before.seal + 2, "the customer and its key");
    assert_eq!(seals[0], seals[1], "a row is sealed once");
    let report = verify_since(&db, Some(&before), |_| {}).await.unwrap();
    assert!(report.holds(), "{report:#?}");
    db.close().await;
}

#[tokio::test]
async fn of_two_sealers_at_once_one_seals_and_no_row_is_lost() {
    let dir = Dir::new();
    let db = healthy(&dir.file("both")).await;
    for n in 0..20 {
        sign_up(&db, &format!("both-{n}"), 0).await;
    }
    let (one, two) = tokio::join!(seal_audit_log(&db, 1), seal_audit_log(&db, 2));
    assert!(!one.unwrap() && !two.unwrap());
    let report = proven(&db).await;
    assert!(report.holds(), "{report:#?}");
    let left = audit_unsealed_list(db.read(), 100).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    db.close().await;
}

#[tokio::test]
async fn a_chain_that_was_made_anew_or_cut_does_not_have_the_known_head() {
    let dir = Dir::new();
    let db = healthy(&dir.file("anew")).await;
    let known = audit_head(db.read()).await.unwrap();
    loosen(&db).await;
    let run = |sql: &'static str| db.write().execute_unprepared(sql);
    run("DELETE FROM audit_seals WHERE seal = (SELECT MAX(seal) FROM audit_seals)").await.unwrap();
    run("DELETE FROM audit_log WHERE id NOT IN (SELECT audit_id FROM audit_seals)").await.unwrap();
    assert!(proven(&db).await.holds(), "the rest is a chain of its own");
    let report = verify_since(&db, Some(&known), |_| {}).await.unwrap();
    let found: Vec<&String> = report.checks.iter().flat_map(|check| &check.violations).collect();
    assert_eq!(found, [&format!("seal {0} is not there: the chain ends with seal {1}", known.seal, known.seal - 1)]);

    run("DELETE FROM audit_seals").await.unwrap();
    run("UPDATE audit_log SET actor = 'admin:nobody'").await.unwrap();
    run("INSERT INTO audit_unsealed SELECT id FROM audit_log").await.unwrap();
    seal_audit_log(&db, 500_000).await.unwrap();
    assert!(proven(&db).await.holds(), "whoever can do all this can make a chain");
    let first = Head { seal: 1, hash: known.hash.clone() };
    let report = verify_since(&db, Some(&first), |_| {}).await.unwrap();
    assert!(!report.holds(), "but not one with the known head");
    db.close().await;
}
