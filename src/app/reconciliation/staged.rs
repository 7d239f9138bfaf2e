//! A file that was brought and waits on disk, and what it is.

use std::{
    fs::File,
    io::{self, BufReader, Read as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{FaultyFile, Order, ReconcileError, Untaken};
use crate::{
    alipay::files::{FileReader, OpenError, ReadOptions},
    domain::{
        reconciliation::{
            FileIdentity,
            daily_file::{FileName, Layout},
        },
        text::is_deceptive,
    },
};

/// A file on disk.
#[derive(Debug)]
pub struct StagedFile {
    /// What it is called, without its directory.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it was put there for this alone, and is deleted afterwards.
    pub is_temporary: bool,
}

impl StagedFile {
    /// Somebody's file, which stays.
    pub fn at(path: &Path) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str());
        Self {
            name: name.to_string_lossy().into_owned(),
            path: path.to_owned(),
            is_temporary: false,
        }
    }

    /// A new place for a file that is being brought, deleted when it is dropped.
    pub fn temporary(name: &str) -> Self {
        let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
        Self {
            name: name
                .chars()
                .filter(|c| !is_deceptive(*c))
                .take(200)
                .collect(),
            path: std::env::temp_dir().join(format!("alipayhk-gateway-{}", uuid::Uuid::now_v7())),
            is_temporary: true,
        }
    }

    /// The refusal of this file.
    pub(super) fn refused(&self, fault: impl Into<Untaken>) -> ReconcileError {
        ReconcileError::Files(vec![FaultyFile {
            name: self.name.clone(),
            fault: fault.into(),
        }])
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if self.is_temporary {
            // What cannot be deleted now is the business of whoever empties the directory.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A file, and what it is.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) file: StagedFile,
    pub(super) identity: FileIdentity,
    pub(super) options: ReadOptions,
}

/// Reads a file once for its hash, and the lines above its records.
pub(super) fn identify(file: StagedFile, order: &Order) -> Result<Known, ReconcileError> {
    let failed = |source| ReconcileError::Io {
        name: file.name.clone(),
        line: 1,
        source,
    };
    let (sha256, size_bytes) = hash(&file.path).map_err(failed)?;
    let options = ReadOptions {
        name: file.name.parse::<FileName>().ok(),
        other_layouts: order.other_layouts,
    };
    let reader = open(&file, &options)?;
    let header = reader.header().cloned().unwrap_or_default();
    let unnamed = || file.refused(Untaken::Unnamed);
    let named = options.name.as_ref();
    let partner = named.map(|name| name.partner.clone()).or(header.partner);
    let day = named.map(|name| name.day).or(header.day);
    let identity = FileIdentity {
        partner: partner.ok_or_else(unnamed)?,
        kind: Layout::kind(reader.layout()),
        day: day.ok_or_else(unnamed)?,
        name: file.name.clone(),
        sha256,
        size_bytes,
    };
    Ok(Known {
        file,
        identity,
        options,
    })
}

/// Opens a file at its first record.
pub(super) fn open(
    file: &StagedFile,
    options: &ReadOptions,
) -> Result<FileReader<BufReader<File>>, ReconcileError> {
    let failed = |source| ReconcileError::Io {
        name: file.name.clone(),
        line: 1,
        source,
    };
    let bytes = BufReader::with_capacity(64 * 1024, File::open(&file.path).map_err(failed)?);
    FileReader::open(bytes, options).map_err(|error| match error {
        OpenError::Io(source) => failed(source),
        OpenError::File(fault) => file.refused(fault),
    })
}

fn hash(path: &Path) -> io::Result<([u8; 32], i64)> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut size = 0_i64;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((digest.finalize().into(), size)),
            n => {
                digest.update(&buffer[..n]);
                size = size.saturating_add(i64::try_from(n).unwrap_or(i64::MAX));
            }
        }
    }
}
