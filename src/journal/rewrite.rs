//! Writing a journal again with other texts.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::{Error, Journal, MAGIC, Strange, ZSTD_LEVEL, scan, split};

/// Ending of what is to replace a journal, while it is being written.
pub const UNFINISHED: &str = "tmp";

/// Given a text, gives another, or nothing to leave it.
pub type Rewrite<'a> = dyn Fn(&str) -> Option<String> + 'a;

impl Journal {
    /// Whether a record or a response of a journal satisfies `is_wanted`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Foreign`] for a file that isn't a journal.
    pub fn any_text(path: &Path, is_wanted: &dyn Fn(&str) -> bool) -> Result<bool, Error> {
        Ok(read(path, &|text| is_wanted(text).then(String::new), |_, _| Ok(()))?.changed)
    }

    /// Writes a journal again with other texts. Stretches that can't be read are left out, since nobody can say
    /// what is in them. False if it holds nothing to change: the file is as it was then.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Foreign`] for a file that isn't a journal.
    pub fn rewrite(path: &Path, rewrite: &Rewrite<'_>) -> Result<bool, Error> {
        let found = read(path, rewrite, |_, _| Ok(()))?;
        if !found.changed && !found.damaged {
            return Ok(false);
        }
        let io = |source| Error::Io { path: path.to_owned(), source };
        let beside = path.with_extension(UNFINISHED);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(io)?;
        let mut out = BufWriter::new(file);
        out.write_all(&found.magic).map_err(io)?;
        read(path, rewrite, |head, body| {
            let mut payload = (head.len() as u32).to_le_bytes().to_vec();
            payload.extend_from_slice(head);
            payload.extend_from_slice(body);
            out.write_all(&(payload.len() as u32).to_le_bytes())?;
            out.write_all(&crc32fast::hash(&payload).to_le_bytes())?;
            out.write_all(&payload)
        })?;
        let file = out.into_inner().map_err(|e| io(e.into_error()))?;
        file.sync_all().map_err(io)?;
        std::fs::rename(&beside, path).map_err(io)?;
        Ok(true)
    }
}

struct Found {
    magic: [u8; MAGIC.len() + 1],
    changed: bool,
    damaged: bool,
}

/// Gives each frame's header and compressed body, rewritten, to `write`.
fn read(
    path: &Path,
    rewrite: &Rewrite<'_>,
    mut write: impl FnMut(&[u8], &[u8]) -> std::io::Result<()>,
) -> Result<Found, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let mut found = Found { magic: [0; MAGIC.len() + 1], changed: false, damaged: false };
    if file.read_exact_at(&mut found.magic, 0).is_err() || !found.magic.starts_with(MAGIC) {
        return Err(Error::Foreign { path: path.to_owned(), source: Strange::Magic });
    }
    for frame in scan::frames(&file, found.magic.len() as u64).map_err(io)? {
        let scan::Found::Frame { payload, .. } = frame.map_err(io)? else {
            found.damaged = true;
            continue;
        };
        let Some((head, body)) = split(&payload) else { continue };
        let mut other = |bytes: &[u8]| {
            let new = rewrite(&String::from_utf8_lossy(bytes));
            found.changed |= new.is_some();
            new.map(String::into_bytes)
        };
        let new_head = other(head);
        let new_body = other(&zstd::decode_all(body).map_err(io)?);
        let new_body =
            new_body.map(|text| zstd::bulk::compress(&text, ZSTD_LEVEL)).transpose().map_err(io)?;
        write(new_head.as_deref().unwrap_or(head), new_body.as_deref().unwrap_or(body)).map_err(io)?;
    }
    Ok(found)
}
