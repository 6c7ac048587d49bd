//! ZIP archives (APPNOTE 6.3), as far as anybody packs certificates with them: stored, or
//! compressed with Deflate.
//!
//! What the directory claims of a file is counted before anything is unpacked, and a file that is
//! not as long as claimed is none. Nothing is written to disk, so no path is looked at.

use std::iter;

use miniz_oxide::inflate::decompress_slice_iter_to_slice;
use rawzip::{CompressionMethod, ZipArchive, ZipFileHeaderRecord, ZipSliceArchive};
use zeroize::Zeroizing;

use super::Error;

/// So many entries an archive has, folders included.
pub(super) const ENTRIES: usize = 256;
/// So long a file is that certificates are looked for in.
const FILE: usize = 1024 * 1024;
/// So many bytes are unpacked in all.
pub(super) const UNPACKED: usize = 2 * FILE;

/// What is wrong with one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it is encrypted")]
    Encrypted,
    #[error("it is compressed with {0}, and only Deflate is read")]
    Method(&'static str),
    #[error("it has more than {most} bytes", most = FILE)]
    Long,
    #[error("it is damaged")]
    Damaged,
}

/// What was looked at so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spent {
    /// So many bytes of archives.
    pub(super) packed: usize,
    /// So many bytes of the files in them.
    pub(super) unpacked: usize,
}

/// An archive with a directory.
pub(super) struct Archive<'a>(ZipSliceArchive<&'a [u8]>);

impl<'a> Archive<'a> {
    /// Finds the directory, and reads nothing of it.
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, Error> {
        let archive = ZipArchive::from_slice(bytes).map_err(|_| Error::DamagedArchive)?;
        let claimed = usize::try_from(archive.entries_hint());
        if claimed.is_ok_and(|claimed| claimed <= ENTRIES) {
            Ok(Self(archive))
        } else {
            Err(Error::ManyEntries)
        }
    }

    /// The files in the order of the directory. The directory may have more than it claims.
    pub(super) fn files(&self) -> impl Iterator<Item = Result<File<'_>, Error>> {
        let entries = self.0.entries().zip(1..).take(ENTRIES + 1);
        entries.filter_map(|(entry, number)| match entry {
            _ if number > ENTRIES => Some(Err(Error::ManyEntries)),
            Err(_) => Some(Err(Error::DamagedArchive)),
            Ok(entry) if entry.is_dir() => None,
            Ok(entry) => Some(Ok(File { archive: &self.0, entry, number })),
        })
    }
}

/// A file of an archive.
pub(super) struct File<'a> {
    archive: &'a ZipSliceArchive<&'a [u8]>,
    entry: ZipFileHeaderRecord<'a>,
    /// Its place among all entries, from 1.
    pub(super) number: usize,
}

impl File<'_> {
    /// Unpacks it, and says what is wrong with it alone. It may be a private key, which is
    /// overwritten when it is dropped.
    ///
    /// # Errors
    /// Where all files together are more than is looked at.
    pub(super) fn unpack(
        &self,
        spent: &mut Spent,
    ) -> Result<Result<Zeroizing<Vec<u8>>, Fault>, Error> {
        if self.entry.flags().is_encrypted() {
            return Ok(Err(Fault::Encrypted));
        }
        let Some(length) = self.length() else { return Ok(Err(Fault::Long)) };
        let Ok(place) = self.archive.get_entry(self.entry.wayfinder()) else {
            return Ok(Err(Fault::Damaged));
        };
        let packed = place.data();
        // Each byte belongs to one file. Otherwise few bytes could be read again and again.
        if spent.packed + packed.len() > self.archive.get_ref().len() {
            return Err(Error::Overlap);
        }
        spent.packed += packed.len();
        if spent.unpacked + length > UNPACKED {
            return Err(Error::Bomb);
        }
        spent.unpacked += length;
        Ok(self.unpacked(packed, length))
    }

    fn length(&self) -> Option<usize> {
        let length = usize::try_from(self.entry.uncompressed_size_hint()).ok()?;
        (length <= FILE).then_some(length)
    }

    fn unpacked(&self, packed: &[u8], length: usize) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let mut bytes = Zeroizing::new(vec![0; length]);
        let written = match self.entry.compression_method() {
            CompressionMethod::STORE if packed.len() == length => {
                bytes.copy_from_slice(packed);
                length
            }
            CompressionMethod::STORE => return Err(Fault::Damaged),
            // Deflate has no checksum, and there is no room for more than the directory claims.
            CompressionMethod::DEFLATE => {
                decompress_slice_iter_to_slice(&mut bytes, iter::once(packed), false, true)
                    .map_err(|_| Fault::Damaged)?
            }
            other => return Err(Fault::Method(other.name().unwrap_or("an unknown method"))),
        };
        let is_whole = written == length && rawzip::crc32(&bytes) == self.entry.crc32();
        if is_whole { Ok(bytes) } else { Err(Fault::Damaged) }
    }
}
