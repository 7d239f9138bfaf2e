//! How much one replica lets in (`docs/invariants.md` Q8).

/// The most of each at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadLimits {
    /// Requests of one API key in a second; 0 does not limit.
    pub requests_per_second: u32,
    /// Requests of one API key that may come at once.
    pub burst: u32,
    /// Payments, refunds, cancels and refreshes under way, of all merchants.
    pub work: usize,
    /// The same of one merchant.
    pub work_per_merchant: usize,
    /// Requests whose answers are held.
    pub waiting: usize,
    /// Notifications under way.
    pub notifications: usize,
}

impl Default for LoadLimits {
    fn default() -> Self {
        Self {
            requests_per_second: 200,
            burst: 400,
            work: 1024,
            work_per_merchant: 512,
            waiting: 4096,
            notifications: 64,
        }
    }
}
