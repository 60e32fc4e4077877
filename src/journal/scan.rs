//! Finding the frames of a journal file, past damage.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::Damage;

/// Larger frames are taken for damage.
const MAX_FRAME: u64 = 1 << 30;
/// Beginning of every frame's JSON header; 12 bytes of lengths and checksum stand before it.
const BEGINS: &[u8] = b"{\"record\":\"";
const BEFORE: u64 = 12;
const WINDOW: usize = 1 << 20;

/// A frame, or a stretch between two frames that is none.
pub(super) enum Found {
    Frame { offset: u64, payload: Vec<u8> },
    Damage(Damage),
}

/// The frames from `start` on, in order, with what is damaged between them.
pub(super) fn frames(file: &File, start: u64) -> io::Result<Frames> {
    let length = file.metadata()?.len();
    let mut input = BufReader::with_capacity(WINDOW, file.try_clone()?);
    input.seek(SeekFrom::Start(start))?;
    Ok(Frames { file: file.try_clone()?, input, at: start, length })
}

pub(super) struct Frames {
    file: File,
    input: BufReader<File>,
    at: u64,
    length: u64,
}

impl Iterator for Frames {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.length {
            return None;
        }
        Some(self.step())
    }
}

impl Frames {
    fn step(&mut self) -> io::Result<Found> {
        let offset = self.at;
        if let Some(payload) = self.frame()? {
            self.at = offset + 8 + payload.len() as u64;
            return Ok(Found::Frame { offset, payload });
        }
        self.at = self.resume_after(offset)?.unwrap_or(self.length);
        self.input.seek(SeekFrom::Start(self.at))?;
        Ok(Found::Damage(Damage { offset, bytes: self.at - offset }))
    }

    /// The frame here, if a whole and undamaged one begins here.
    fn frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut prefix = [0; 8];
        match self.input.read_exact(&mut prefix) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(e),
        }
        let [a, b, c, d, e, f, g, h] = prefix;
        let (length, crc) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        if u64::from(length) > MAX_FRAME.min(self.length - self.at - 8) {
            return Ok(None);
        }
        let mut payload = Vec::with_capacity(length as usize);
        self.input.by_ref().take(u64::from(length)).read_to_end(&mut payload)?;
        Ok((payload.len() == length as usize && crc32fast::hash(&payload) == crc).then_some(payload))
    }

    /// Where the next undamaged frame begins. A frame is recognised by how its header begins, and believed if
    /// its checksum agrees: the lengths of a damaged one lead nowhere.
    fn resume_after(&self, damaged: u64) -> io::Result<Option<u64>> {
        let mut window = vec![0; WINDOW];
        let mut from = damaged + 1;
        while from < self.length {
            let want = window.len().min((self.length - from) as usize);
            self.file.read_exact_at(&mut window[..want], from)?;
            let seen = &window[..want];
            let mut places = (0..seen.len().saturating_sub(BEGINS.len() - 1))
                .filter(|i| seen[*i] == BEGINS[0] && seen[*i..].starts_with(BEGINS));
            while let Some(begin) = places.next().map(|i| from + i as u64) {
                let Some(offset) = begin.checked_sub(BEFORE).filter(|offset| *offset > damaged) else {
                    continue;
                };
                if self.is_frame(offset)? {
                    return Ok(Some(offset));
                }
            }
            if from + want as u64 >= self.length {
                break;
            }
            // Windows overlap, so that a beginning across two of them is seen.
            from += (want - BEGINS.len()) as u64;
        }
        Ok(None)
    }

    fn is_frame(&self, offset: u64) -> io::Result<bool> {
        let mut prefix = [0; 8];
        self.file.read_exact_at(&mut prefix, offset)?;
        let [a, b, c, d, e, f, g, h] = prefix;
        let (length, crc) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        if u64::from(length) > MAX_FRAME.min(self.length.saturating_sub(offset + 8)) {
            return Ok(false);
        }
        let mut payload = vec![0; length as usize];
        self.file.read_exact_at(&mut payload, offset + 8)?;
        Ok(crc32fast::hash(&payload) == crc)
    }
}
