//! Pages of lists.

/// Makes the type of a page of rows that have an example.
macro_rules! page {
    ($(#[$doc:meta])* $visibility:vis $name:ident of $row:ident) => {
        $(#[$doc])*
        #[derive(Debug, poem_openapi::Object)]
        #[oai(example)]
        $visibility struct $name {
            /// The rows.
            $visibility data: Vec<$row>,
            /// Where the next page begins; null on the last.
            $visibility next_cursor: Option<String>,
        }

        impl poem_openapi::types::Example for $name {
            fn example() -> Self {
                let next_cursor = Some($crate::routes::sample::CURSOR.to_owned());
                Self { data: vec![<$row as poem_openapi::types::Example>::example()], next_cursor }
            }
        }
    };
}

pub(super) use page;
