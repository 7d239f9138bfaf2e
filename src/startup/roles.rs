//! What one process does.

/// What one process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roles {
    /// The REST surface and the follow-up workers.
    ApiAndWorkers,
    /// The REST surface; the workers run in other processes.
    Api,
    /// The workers, with health and metrics only.
    Workers,
}

impl Roles {
    /// Whether callers are answered here.
    pub const fn has_api(self) -> bool {
        matches!(self, Self::ApiAndWorkers | Self::Api)
    }

    /// Whether follow-up workers run here.
    pub const fn has_workers(self) -> bool {
        matches!(self, Self::ApiAndWorkers | Self::Workers)
    }
}
