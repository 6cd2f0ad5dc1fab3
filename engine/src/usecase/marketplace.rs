//! What support and customers do about purchases on GitHub Marketplace.
//!
//! | module | question |
//! |---|---|
//! | [`link`] | which customer is it? |
//! | [`correct`] | how does support correct what GitHub's events leave open? |

pub mod correct;
pub mod link;
