//! Messages for tests: one call, told by the recorder `vm`.

use orkbase::message::tape::{Direction, KeepSide, Stage, TapeMessage};
use std::collections::BTreeMap;

/// `init` as the original recorder sends it (observed).
pub(crate) const INIT: &str = "type=init&name=orkaudio-peer&hostname=vm&servicetype=A&tcpport=59140&protocol=&fileserveport=8080&contextpath=%2Faudio&servepath=&absolutepath=%2Fvar%2Flog%2Forkaudio%2Faudio&streamingport=&username=&password=&sshport=22&hostname=vm&";
/// `tape` at `start` (observed).
pub(crate) const START: &str = "type=tape&recid=20261121_021704_EZIP&stage=start&captureport=EZIP&timestamp=1795227424&filename=2026%2F11%2F21%2F02%2F20261121_021704_EZIP&localparty=100000&localentrypoint=&remoteparty=200000&direction=out&duration=0&service=orkaudio-peer&localip=10.1.0.1&remoteip=10.2.0.1&nativecallid=gen-1-000000-493196cc&tags=&ondemand=false&side=both&live=true&hostname=vm&";
/// `tape` at `stop` (observed).
pub(crate) const STOP: &str = "type=tape&recid=20261121_021704_EZIP&stage=stop&captureport=EZIP&timestamp=1795227424&filename=2026%2F11%2F21%2F02%2F20261121_021704_EZIP.wav&localparty=100000&localentrypoint=&remoteparty=200000&direction=out&duration=2&service=orkaudio-peer&localip=10.1.0.1&remoteip=10.2.0.1&nativecallid=gen-1-000000-493196cc&tags=&ondemand=false&side=both&live=true&hostname=vm&";
/// `tape` at `ready` (observed).
pub(crate) const READY: &str = "type=tape&recid=20261121_021704_EZIP&stage=ready&captureport=EZIP&timestamp=1795227424&filename=2026%2F11%2F21%2F02%2F20261121_021704_EZIP.wav&localparty=100000&localentrypoint=&remoteparty=200000&direction=out&duration=2&service=orkaudio-peer&localip=10.1.0.1&remoteip=10.2.0.1&nativecallid=gen-1-000000-493196cc&tags=&ondemand=false&side=both&live=true&hostname=vm&";

/// A stage of the call `recid`: 1001 calls 1002 for 12 s.
pub(crate) fn tape(recid: &str, stage: Stage) -> TapeMessage {
    let (ending, duration) = match stage {
        Stage::Start | Stage::Update | Stage::Hold | Stage::Resume => ("", 0),
        Stage::Stop | Stage::Ready => (".wav", 12),
    };
    TapeMessage {
        recid: recid.to_owned(),
        stage,
        captureport: "AAAB".to_owned(),
        timestamp: 1_795_227_424,
        filename: format!("2026/11/21/02/{recid}{ending}"),
        localparty: "1001".to_owned(),
        localentrypoint: String::new(),
        remoteparty: "1002".to_owned(),
        direction: Direction::Out,
        duration,
        service: "orkaudio-vm".to_owned(),
        localip: "10.1.0.1".to_owned(),
        remoteip: "10.2.0.1".to_owned(),
        nativecallid: "call-1".to_owned(),
        tags: BTreeMap::new(),
        ondemand: false,
        side: KeepSide::Both,
        live: true,
        hostname: "vm".to_owned(),
    }
}

/// Tags out of pairs.
pub(crate) fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The message with these tags.
pub(crate) fn tagged(mut message: TapeMessage, pairs: &[(&str, &str)]) -> TapeMessage {
    message.tags = tags(pairs);
    message
}
