//! Actions of support and customers on purchases on GitHub Marketplace.
//!
//! | module | question |
//! |---|---|
//! | [`link`] | how is a purchase linked to a customer? |
//! | [`correct`] | how does support correct lost or ambiguous events? |

pub mod correct;
pub mod link;
