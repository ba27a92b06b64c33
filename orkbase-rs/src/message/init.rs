//! `init`: a recorder introduces itself; it reports nothing before this is answered with success.

use super::pairs::{FieldError, Fields, Message, Pairs};

/// What a recorder says about itself. Ports are text, as the original leaves `streamingport` empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InitMessage {
    /// Service name, by default `orkaudio-<hostname>`.
    pub name: String,
    /// Host name of the recorder; emitted twice, the second time last.
    pub hostname: String,
    /// `A` for audio.
    pub servicetype: String,
    /// Command port, 59140.
    pub tcpport: String,
    /// Not used by the original: empty.
    pub protocol: String,
    /// Port of the web server that serves the files, 8080.
    pub fileserveport: String,
    /// Path on that web server, `/audio`.
    pub contextpath: String,
    /// Not used by the original: empty.
    pub servepath: String,
    /// Directory that `filename` of `tape` messages is relative to.
    pub absolutepath: String,
    /// Live audio port; empty in the original.
    pub streamingport: String,
    /// Not used by the original: empty.
    pub username: String,
    /// Not used by the original: empty. The tracker does not keep it.
    pub password: String,
    /// 22 in the original.
    pub sshport: String,
}

impl InitMessage {
    /// What the original sends, but for the four values that differ from host to host.
    #[must_use]
    pub fn new(name: &str, hostname: &str, tcpport: u16, absolutepath: &str) -> Self {
        Self {
            name: name.to_owned(),
            hostname: hostname.to_owned(),
            servicetype: "A".to_owned(),
            tcpport: tcpport.to_string(),
            protocol: String::new(),
            fileserveport: "8080".to_owned(),
            contextpath: "/audio".to_owned(),
            servepath: String::new(),
            absolutepath: absolutepath.to_owned(),
            streamingport: String::new(),
            username: String::new(),
            password: String::new(),
            sshport: "22".to_owned(),
        }
    }

    /// Reads an introduction; of the two host names the first one counts.
    ///
    /// # Errors
    /// `hostname` missing or empty. The original also requires `name` and `servicetype`; a recorder
    /// is not turned away for those.
    pub fn from_pairs(pairs: &Pairs) -> Result<Self, FieldError> {
        let hostname = pairs.required("hostname")?;
        if hostname.is_empty() {
            return Err(FieldError::Missing("hostname"));
        }
        Ok(Self {
            name: pairs.text("name"),
            hostname: hostname.to_owned(),
            servicetype: pairs.text("servicetype"),
            tcpport: pairs.text("tcpport"),
            protocol: pairs.text("protocol"),
            fileserveport: pairs.text("fileserveport"),
            contextpath: pairs.text("contextpath"),
            servepath: pairs.text("servepath"),
            absolutepath: pairs.text("absolutepath"),
            streamingport: pairs.text("streamingport"),
            username: pairs.text("username"),
            password: pairs.text("password"),
            sshport: pairs.text("sshport"),
        })
    }
}

impl Message for InitMessage {
    const CLASS: &'static str = "init";

    fn fields(&self) -> Fields {
        Fields::new()
            .with("type", Self::CLASS)
            .with("name", self.name.as_str())
            .with("hostname", self.hostname.as_str())
            .with("servicetype", self.servicetype.as_str())
            .with("tcpport", self.tcpport.as_str())
            .with("protocol", self.protocol.as_str())
            .with("fileserveport", self.fileserveport.as_str())
            .with("contextpath", self.contextpath.as_str())
            .with("servepath", self.servepath.as_str())
            .with("absolutepath", self.absolutepath.as_str())
            .with("streamingport", self.streamingport.as_str())
            .with("username", self.username.as_str())
            .with("password", self.password.as_str())
            .with("sshport", self.sshport.as_str())
            .with("hostname", self.hostname.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::url;

    #[test]
    fn as_observed() {
        let golden = "type=init&name=orkaudio-peer&hostname=vm&servicetype=A&tcpport=59140&protocol=\
                      &fileserveport=8080&contextpath=%2Faudio&servepath=\
                      &absolutepath=%2Fvar%2Flog%2Forkaudio%2Faudio&streamingport=&username=\
                      &password=&sshport=22&hostname=vm&";
        let init = InitMessage::new("orkaudio-peer", "vm", 59140, "/var/log/orkaudio/audio");
        assert_eq!(url::encode(&init.fields()), golden);
        assert_eq!(InitMessage::from_pairs(&url::decode(golden.as_bytes()).unwrap()), Ok(init));
    }

    #[test]
    fn a_recorder_must_have_a_name() {
        let read = |text: &str| InitMessage::from_pairs(&url::decode(text.as_bytes()).unwrap());
        assert_eq!(read("type=init&name=a&"), Err(FieldError::Missing("hostname")));
        assert!(read("TYPE=init&HostName=vm&").is_ok_and(|init| init.hostname == "vm"));
    }
}
