//! A sealed file as if it were a plain one.

use super::{
    Store,
    extents::{Extents, Place},
    format::{
        HEAD, HEADER, Head, Kind, MAX_RECORD, MAX_RECORDS, SealError, Sealer, TAG, TRAILER, begin,
        closing, read_closing, read_header, read_trailer, trailer,
    },
};
use crate::keys::KeyRing;
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

/// A file whose bytes on the disk are sealed.
pub struct SealedFile<S = File> {
    file: S,
    sealer: Sealer,
    extents: Extents,
    /// Bytes of the plain file.
    size: u64,
    /// Where the next record goes.
    end: u64,
    /// The closing record is there; it goes when more is written.
    whole: bool,
    /// So it may be, at least in part: nothing is written over it before it is cut off, or its trailer would tell
    /// of what is no closing record any more.
    ended: bool,
    /// The first record that was changed, in a file that was not closed; it is not taken, nor is what
    /// follows.
    damaged: Option<usize>,
    /// Drawn when the first record is written: begins each nonce.
    session: Option<[u8; 8]>,
    nonces: u32,
    /// The record that was read last.
    held: Option<(usize, Vec<u8>)>,
    position: u64,
}

impl<S: std::fmt::Debug> std::fmt::Debug for SealedFile<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedFile")
            .field("file", &self.file)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|error| io::Error::other(format!("no random numbers: {error}")))
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl<S: Store> SealedFile<S> {
    /// Begins a file; `file` is empty.
    ///
    /// # Errors
    /// When the disk refuses, or there is no key.
    pub fn create(file: S, ring: &KeyRing) -> io::Result<Self> {
        let mut drawn = zeroize::Zeroizing::new([0; 60]);
        random(drawn.as_mut_slice())?;
        let begun = ring.newest().and_then(|key| begin(key, &drawn));
        let (header, sealer) = begun.ok_or_else(|| io::Error::other("no key to seal with"))?;
        file.write_all_at(&header, 0)?;
        Ok(Self::with(file, sealer, Extents::default(), 0, wide(HEADER), false))
    }

    fn with(file: S, sealer: Sealer, extents: Extents, size: u64, end: u64, whole: bool) -> Self {
        let (damaged, session, nonces, held, position) = (None, None, 0, None, 0);
        let ended = whole;
        Self {
            file,
            sealer,
            extents,
            size,
            end,
            whole,
            ended,
            damaged,
            session,
            nonces,
            held,
            position,
        }
    }

    /// Opens a file: by its closing record, or where there is none by all records that are whole. Of those
    /// each is opened first, for only then is it known which bytes are its own.
    ///
    /// # Errors
    /// [`SealError`] in [`io::ErrorKind::InvalidData`]; or the disk.
    pub fn open(file: S, ring: &KeyRing) -> io::Result<Self> {
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0).map_err(|error| {
            let short = error.kind() == io::ErrorKind::UnexpectedEof;
            if short { SealError::NotSealed.into() } else { error }
        })?;
        let sealer = read_header(&header, ring)?;
        let length = file.bytes()?;
        if let Some((extents, size, end)) = read_end(&file, &sealer, length)? {
            return Ok(Self::with(file, sealer, extents, size, end, true));
        }
        let mut this = Self::with(file, sealer, Extents::default(), 0, wide(HEADER), false);
        while let Some(head) = head_at(&this.file, this.end, length)?
            && head.kind == Kind::Data
        {
            let number = this.extents.records().len();
            if number >= MAX_RECORDS {
                return Err(SealError::End.into());
            }
            let place = Place { offset: head.offset, length: head.length, at: this.end };
            match this.record(number, place) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    this.damaged = Some(number);
                    break;
                }
                Err(error) => return Err(error),
            }
            this.extents.push(place);
            this.end += head.record_bytes();
        }
        this.size = this.extents.size();
        Ok(this)
    }

    /// Opens what a killed writer left: what is behind the last whole record is cut off.
    ///
    /// # Errors
    /// As for [`SealedFile::open`].
    pub fn recover(file: S, ring: &KeyRing) -> io::Result<Self> {
        let mut this = Self::open(file, ring)?;
        if !this.whole {
            this.damaged = None;
            this.file.set_len(this.end)?;
        }
        Ok(this)
    }

    /// Whether it was closed: nothing is missing at its end.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.whole
    }

    /// Where its bytes lie.
    #[must_use]
    pub const fn store(&self) -> &S {
        &self.file
    }

    /// Bytes of the plain file.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Reads every record.
    ///
    /// # Errors
    /// The first that was changed; or the disk.
    pub fn check(&mut self) -> io::Result<()> {
        let records: Vec<Place> = self.extents.records().to_vec();
        for (number, place) in records.into_iter().enumerate() {
            self.record(number, place)?;
        }
        self.undamaged()
    }

    fn undamaged(&self) -> io::Result<()> {
        self.damaged.map_or(Ok(()), |number| Err(SealError::Changed(wide(number)).into()))
    }

    /// Makes the plain file this long; what is behind is not read any more.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn set_size(&mut self, size: u64) -> io::Result<()> {
        self.reopen()?;
        self.size = size;
        Ok(())
    }

    /// Forgets the closing record, and what is damaged.
    fn reopen(&mut self) -> io::Result<()> {
        if self.ended || self.damaged.is_some() {
            self.file.set_len(self.end)?;
            (self.whole, self.ended, self.damaged) = (false, false, None);
        }
        Ok(())
    }

    fn nonce(&mut self) -> io::Result<[u8; 12]> {
        let session = match self.session {
            Some(session) => session,
            None => {
                let mut drawn = [0; 8];
                random(&mut drawn)?;
                *self.session.insert(drawn)
            }
        };
        let number = self.nonces;
        self.nonces = number.checked_add(1).ok_or_else(|| io::Error::other("too many records"))?;
        let mut nonce = [0; 12];
        let parts = session.into_iter().chain(number.to_le_bytes());
        nonce.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
        Ok(nonce)
    }

    fn append(&mut self, kind: Kind, offset: u64, plain: &[u8]) -> io::Result<u64> {
        let too_long = |_| io::Error::other("a record is too long");
        let length = u32::try_from(plain.len()).map_err(too_long)?;
        let head = Head { kind, length, offset, nonce: self.nonce()? };
        let number = wide(self.extents.records().len());
        let bytes = self.sealer.seal(number, head, plain)?;
        if let Err(error) = self.file.write_all_at(&bytes, self.end) {
            // What is torn is no record either way.
            drop(self.file.set_len(self.end));
            return Err(error);
        }
        Ok(wide(bytes.len()))
    }

    /// Writes bytes where they belong in the plain file: all of them, or as far as the disk lets us none.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.reopen()?;
        let (records, size, end) = (self.extents.records().len(), self.size, self.end);
        let written = self.write_pieces(bytes, offset);
        if written.is_err() && self.extents.records().len() > records {
            let mut before = Extents::default();
            self.extents.records().iter().take(records).for_each(|place| before.push(*place));
            (self.extents, self.size, self.end) = (before, size, end);
            self.held = None;
            drop(self.file.set_len(end));
        }
        written
    }

    fn write_pieces(&mut self, bytes: &[u8], mut offset: u64) -> io::Result<()> {
        for piece in bytes.chunks(MAX_RECORD) {
            if self.extents.records().len() >= MAX_RECORDS {
                return Err(io::Error::other("too many records"));
            }
            let at = self.end;
            self.end += self.append(Kind::Data, offset, piece)?;
            let length = u32::try_from(piece.len()).unwrap_or(0);
            let place = Place { offset, length, at };
            self.extents.push(place);
            self.size = self.size.max(place.end());
            offset = place.end();
        }
        Ok(())
    }

    /// Reads bytes of the plain file; less than asked for only where it ends. Holes are zeros.
    ///
    /// # Errors
    /// When a record was changed (where the file was not closed: behind those before it), or the disk refuses.
    pub fn read_at(&mut self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = bytes.len().min(left);
        if wanted == 0 && !bytes.is_empty() {
            self.undamaged()?;
        }
        let (mut done, mut at) = (0, offset);
        while let Some(room) = bytes.get_mut(done..wanted).filter(|room| !room.is_empty()) {
            let (range, record) = self.extents.piece(at);
            let held = usize::try_from(range.end - at).unwrap_or(usize::MAX);
            let count = if held == 0 { room.len() } else { held.min(room.len()) };
            let room = room.get_mut(..count).unwrap_or_default();
            match record {
                None => room.fill(0),
                Some((number, place)) => {
                    let from = usize::try_from(at - place.offset).unwrap_or(usize::MAX);
                    let plain = self.record(number, place)?;
                    let there = plain.get(from..from.saturating_add(count));
                    room.copy_from_slice(there.ok_or(SealError::Changed(wide(number)))?);
                }
            }
            done += count;
            at += wide(count);
        }
        Ok(done)
    }

    /// The bytes of a record.
    fn record(&mut self, number: usize, place: Place) -> io::Result<&[u8]> {
        if self.held.as_ref().is_none_or(|(held, _)| *held != number) {
            self.held = None;
            let changed = || io::Error::from(SealError::Changed(wide(number)));
            let length = self.file.bytes()?;
            let head = head_at(&self.file, place.at, length)?.ok_or_else(changed)?;
            let told = Place { offset: head.offset, length: head.length, at: place.at };
            if told != place || head.kind != Kind::Data {
                return Err(changed());
            }
            let body = body_at(&self.file, place.at, head)?;
            let plain = self.sealer.open(wide(number), head, body)?;
            self.held = Some((number, plain));
        }
        Ok(self.held.as_ref().map(|(_, plain)| plain.as_slice()).unwrap_or_default())
    }

    /// Writes the closing record: the file is whole.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn close(&mut self) -> io::Result<()> {
        if self.whole {
            return Ok(());
        }
        self.reopen()?;
        let plain = closing(&self.extents, self.size);
        let bytes = self.append(Kind::Closing, 0, &plain)?;
        self.ended = true;
        self.file.write_all_at(&trailer(self.end), self.end + bytes)?;
        self.file.set_len(self.end + bytes + wide(TRAILER))?;
        self.whole = true;
        Ok(())
    }

    /// Forces it to the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// The head of a record that lies wholly in the file.
fn head_at<S: Store>(file: &S, at: u64, length: u64) -> io::Result<Option<Head>> {
    if at.checked_add(wide(HEAD)).is_none_or(|end| end > length) {
        return Ok(None);
    }
    let mut bytes = [0; HEAD];
    file.read_exact_at(&mut bytes, at)?;
    let head = Head::read(&bytes);
    Ok(head.filter(|head| at.checked_add(head.record_bytes()).is_some_and(|end| end <= length)))
}

fn body_at<S: Store>(file: &S, at: u64, head: Head) -> io::Result<Vec<u8>> {
    let length = usize::try_from(head.length).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut body = vec![0; length + TAG];
    file.read_exact_at(&mut body, at + wide(HEAD))?;
    Ok(body)
}

/// What the end of a closed file tells, and where its closing record is; `None` if it was not closed.
fn read_end<S: Store>(
    file: &S,
    sealer: &Sealer,
    length: u64,
) -> io::Result<Option<(Extents, u64, u64)>> {
    let Some(at) = length.checked_sub(wide(TRAILER)) else { return Ok(None) };
    let mut bytes = [0; TRAILER];
    file.read_exact_at(&mut bytes, at)?;
    let Some(closing_at) = read_trailer(&bytes) else { return Ok(None) };
    let head = head_at(file, closing_at, at)?.filter(|head| head.kind == Kind::Closing);
    let head = head.filter(|head| closing_at + head.record_bytes() == at).ok_or(SealError::End)?;
    let mut body = body_at(file, closing_at, head)?;
    // Its number is that of the records before it, which it tells itself: it is tried with what fits.
    let entries = head.length.saturating_sub(16) / 20;
    body = sealer.open(u64::from(entries), head, body).map_err(|_| SealError::End)?;
    let (extents, size) = read_closing(&body).ok_or(SealError::End)?;
    Ok(Some((extents, size, closing_at)))
}

impl<S: Store> Read for SealedFile<S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.read_at(bytes, self.position)?;
        self.position += wide(count);
        Ok(count)
    }
}

impl<S: Store> Write for SealedFile<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(MAX_RECORD);
        self.write_all_at(bytes.get(..count).unwrap_or_default(), self.position)?;
        self.position += wide(count);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Store> Seek for SealedFile<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
