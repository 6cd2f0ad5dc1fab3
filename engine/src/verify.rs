//! stub
#![allow(missing_docs)]
#[derive(serde::Serialize)] pub struct CheckReport { pub obligation: u8, pub name: &'static str, pub checked: u64, pub violations: Vec<String>, pub violations_total: u64 }
#[derive(serde::Serialize)] pub struct Report { pub checks: Vec<CheckReport> }
impl Report { pub fn holds(&self) -> bool { true } }
pub struct Progress; impl std::fmt::Display for Progress { fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
pub async fn verify(_: &crate::store::Db, _: impl Fn(Progress)) -> crate::Result<Report> { Ok(Report { checks: vec![] }) }
