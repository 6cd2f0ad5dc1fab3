//! Whether the database's schema fits this release. A release knows its migrations by name; the database stores the
//! names of the applied ones.

/// How the database's schema compares with this release's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// They are equal.
    Ours,
    /// The database has none.
    Absent,
    /// The database lacks these migrations.
    Behind(Vec<String>),
    /// A newer release applied these as well. Its additions do no harm here, so that a release can be rolled out
    /// node by node.
    Ahead(Vec<String>),
    /// These belong neither to this release nor to a newer one.
    Foreign(Vec<String>),
}

impl Schema {
    /// Compares the applied migrations with the known ones, which are in order.
    pub fn of(known: &[String], applied: Option<&[String]>) -> Self {
        let Some(applied) = applied.filter(|applied| !applied.is_empty()) else { return Self::Absent };
        let without = |all: &[String], some: &[String]| -> Vec<String> {
            all.iter().filter(|name| !some.contains(name)).cloned().collect()
        };
        let (missing, unknown) = (without(known, applied), without(applied, known));
        if !missing.is_empty() {
            return Self::Behind(missing);
        }
        match unknown.iter().all(|name| Some(name) > known.last()) {
            true if unknown.is_empty() => Self::Ours,
            true => Self::Ahead(unknown),
            false => Self::Foreign(unknown),
        }
    }

    /// Whether this release works with it.
    pub fn is_served(&self) -> bool {
        matches!(self, Self::Ours | Self::Ahead(_))
    }

    /// A message for the operator, unless the schemas are equal.
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::Ours => None,
            Self::Absent => Some("the database has no schema: run `bursar migrate up`".to_owned()),
            Self::Behind(missing) => Some(format!(
                "the database's schema is older than this release ({} missing): run `bursar migrate up`",
                missing.join(", ")
            )),
            Self::Ahead(unknown) => Some(format!(
                "the database's schema is newer than this release ({}): start the newer release, or take that back \
                 with its `bursar migrate down`",
                unknown.join(", ")
            )),
            Self::Foreign(unknown) => Some(format!(
                "the database's schema is not this release's ({} unknown): check that this is the right database",
                unknown.join(", ")
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_schema_is_ours_only_with_all_of_our_migrations_and_no_others() {
        let known = names(&["m0001", "m0002", "m0004"]);
        let of = |applied: &[&str]| Schema::of(&known, Some(&names(applied)));
        assert_eq!(of(&["m0001", "m0002", "m0004"]), Schema::Ours);
        assert_eq!(of(&["m0001", "m0004"]), Schema::Behind(names(&["m0002"])));
        assert_eq!(of(&["m0001", "m0002", "m0004", "m0005"]), Schema::Ahead(names(&["m0005"])));
        assert_eq!(of(&["m0001", "m0002", "m0003", "m0004"]), Schema::Foreign(names(&["m0003"])));
        assert_eq!(of(&["m0001", "m0002", "m0005"]), Schema::Behind(names(&["m0004"])));
        assert_eq!((of(&[]), Schema::of(&known, None)), (Schema::Absent, Schema::Absent));
    }

    #[test]
    fn only_a_newer_schema_is_served_besides_ours() {
        let served = [Schema::Ours, Schema::Ahead(names(&["m0005"]))];
        assert!(served.iter().all(Schema::is_served));
        let refused = [Schema::Absent, Schema::Behind(names(&["m0002"])), Schema::Foreign(names(&["m0003"]))];
        assert!(refused.iter().all(|schema| !schema.is_served() && schema.problem().is_some()));
    }
}
