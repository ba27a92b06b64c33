//! MP3 by libmp3lame, with ID3v2.4 in front and the frame that tells of the true length.

use super::{Encoder, Labels, SOFTWARE, ffi, refused};
use crate::tape::wav::Layout;
use id3::{
    Tag, TagLike as _, Version,
    frame::{Comment, ExtendedText, Timestamp},
};
use orkvault::sealed::Vessel;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};

/// An MP3 file being written.
pub(super) struct Mp3 {
    file: BufWriter<Vessel>,
    lame: ffi::LameStream,
    /// Where the audio begins.
    audio_at: u64,
    coded: Vec<u8>,
}

impl Mp3 {
    pub(super) fn create(
        file: Vessel,
        layout: Layout,
        labels: &Labels,
        kilobits: u32,
    ) -> io::Result<Self> {
        let lame = ffi::Lame::get().map_err(refused)?;
        let lame = lame.stream(layout.rate, layout.channels, kilobits).map_err(refused)?;
        let mut file = BufWriter::new(file);
        tag(labels).write_to(&mut file, Version::Id3v24).map_err(refused)?;
        let audio_at = file.stream_position()?;
        Ok(Self { file, lame, audio_at, coded: Vec::new() })
    }
}

impl Encoder for Mp3 {
    fn write(&mut self, samples: &[i16]) -> io::Result<()> {
        self.lame.encode(samples, &mut self.coded).map_err(refused)?;
        self.file.write_all(&self.coded)
    }

    fn finish(mut self: Box<Self>) -> io::Result<Vessel> {
        self.lame.flush(&mut self.coded).map_err(refused)?;
        self.file.write_all(&self.coded)?;
        // It takes the place of the first frame, which was written empty.
        self.lame.length_frame(&mut self.coded);
        self.file.seek(SeekFrom::Start(self.audio_at))?;
        self.file.write_all(&self.coded)?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

fn tag(labels: &Labels) -> Tag {
    let mut tag = Tag::new();
    for (name, value) in labels.named() {
        match name {
            "TITLE" => tag.set_title(value),
            "ARTIST" => tag.set_artist(value),
            "ENCODER" => tag.set_text("TSSE", SOFTWARE),
            "DATE" => {
                // ID3 knows no zone: the time is the recorder's.
                let plain = value.get(..19).unwrap_or(&value);
                if let Ok(date) = plain.parse::<Timestamp>() {
                    tag.set_date_recorded(date);
                }
            }
            "COMMENT" => {
                let comment =
                    Comment { lang: "eng".to_owned(), description: String::new(), text: value };
                tag.add_frame(comment);
            }
            _ => {
                tag.add_frame(ExtendedText { description: name.to_owned(), value });
            }
        }
    }
    tag
}
