//! How a file is opened, and why it cannot be.

use std::io;

use crate::domain::reconciliation::daily_file::{FileFault, FileName};

/// How a file is to be read.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// What the file is called. Kind and partner must then agree with the content; without a name the
    /// content alone says which kind it is.
    pub name: Option<FileName>,
    /// Whether the files of other products are read too. Rows then lack what these do not have.
    pub other_layouts: bool,
}

impl ReadOptions {
    /// A file of the HK product with this name.
    pub fn of_name(name: FileName) -> Self {
        Self {
            name: Some(name),
            other_layouts: false,
        }
    }
}

/// Why a file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The bytes could not be had.
    #[error("the file cannot be read")]
    Io(#[source] io::Error),
    /// The bytes are not those of a file of ours.
    #[error(transparent)]
    File(FileFault),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FileFault> for OpenError {
    fn from(fault: FileFault) -> Self {
        Self::File(fault)
    }
}
