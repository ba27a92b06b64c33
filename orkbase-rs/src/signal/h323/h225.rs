//! The H.225.0 part of a message (H323-UserInformation): addresses, aliases, fast connect, tunnel.

use super::per::{Choice, Per};
use std::net::SocketAddr;

/// Longest alias kept, in characters.
const MAX_ALIAS: usize = 128;

/// What it says of a call.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Told<'a> {
    /// Where H.245 is spoken.
    pub(super) control: Option<SocketAddr>,
    /// The first alias of the caller, and of the called.
    pub(super) source: String,
    pub(super) destination: String,
    /// The same for one call on every connection it takes.
    pub(super) identifier: Option<[u8; 16]>,
    /// Channels proposed or chosen (H.245 `OpenLogicalChannel`).
    pub(super) fast_start: Vec<&'a [u8]>,
    /// Tunnelled H.245 messages.
    pub(super) tunnelled: Vec<&'a [u8]>,
}

/// Reads it; `None` when it ends before the body does. What follows a body is missing when it
/// cannot be read.
pub(super) fn read(bytes: &[u8]) -> Option<Told<'_>> {
    let mut per = Per::new(bytes);
    let [_, _user_data] = per.flags()?;
    let [extended, non_standard] = per.flags()?;
    let mut told = Told::default();
    match per.choice(3)? {
        Choice::Root(0) => setup(&mut per, &mut told)?,
        // CALL PROCEEDING and ALERTING are built alike.
        Choice::Root(1 | 3) => proceeding(&mut per, &mut told)?,
        Choice::Root(2) => connect(&mut per, &mut told)?,
        Choice::Root(6) => facility(&mut per, &mut told)?,
        Choice::Root(4) => information(&mut per, &mut told)?,
        Choice::Root(_) => return Some(told),
        // PROGRESS
        Choice::Extension(0, value) => progress(value, &mut told)?,
        Choice::Extension(..) => {}
    }
    let tunnel = |per: &mut Per<'_>| {
        if non_standard {
            parameter(per)?;
        }
        Some(())
    };
    if tunnel(&mut per).is_some()
        && let Some([_, _, Some(control), ..]) = per.additions(extended)
    {
        told.tunnelled = Per::new(control).strings().unwrap_or_default();
    }
    Some(told)
}

fn setup<'a>(per: &mut Per<'a>, told: &mut Told<'a>) -> Option<()> {
    let [extended, control, source, destination, signal, extra, references, services] =
        per.flags()?;
    per.open()?;
    if control {
        told.control = transport(per)?;
    }
    if source {
        told.source = aliases(per)?;
    }
    endpoint(per)?;
    if destination {
        told.destination = aliases(per)?;
    }
    if signal {
        transport(per)?;
    }
    if extra {
        aliases(per)?;
    }
    if references {
        per.list(|per| per.word().map(|_| ()))?;
    }
    per.bit()?;
    per.octets(16)?;
    // What the conference is for.
    per.choice(2)?;
    if services {
        let [extended, ..] = per.flags::<8>()?;
        let [more, ..] = per.flags::<3>()?;
        per.additions(more)?;
        per.additions(extended)?;
    }
    per.choice(2)?;
    let [_, _, identifier, _, _, _, fast, _] = per.additions(extended)?;
    told.identify(identifier);
    told.start(fast);
    Some(())
}

fn proceeding<'a>(per: &mut Per<'a>, told: &mut Told<'a>) -> Option<()> {
    let [extended, control] = per.flags()?;
    per.open()?;
    endpoint(per)?;
    if control {
        told.control = transport(per)?;
    }
    let [identifier, _, _, _, fast, ..] = per.additions(extended)?;
    told.identify(identifier);
    told.start(fast);
    Some(())
}

fn connect<'a>(per: &mut Per<'a>, told: &mut Told<'a>) -> Option<()> {
    let [extended, control] = per.flags()?;
    per.open()?;
    if control {
        told.control = transport(per)?;
    }
    endpoint(per)?;
    per.octets(16)?;
    let [identifier, _, _, _, fast, ..] = per.additions(extended)?;
    told.identify(identifier);
    told.start(fast);
    Some(())
}

fn information<'a>(per: &mut Per<'a>, told: &mut Told<'a>) -> Option<()> {
    let extended = per.bit()?;
    per.open()?;
    let [identifier, _, _, fast, ..] = per.additions(extended)?;
    told.identify(identifier);
    told.start(fast);
    Some(())
}

fn facility<'a>(per: &mut Per<'a>, told: &mut Told<'a>) -> Option<()> {
    let [extended, address, alias, conference] = per.flags()?;
    per.open()?;
    if address {
        transport(per)?;
    }
    if alias {
        aliases(per)?;
    }
    if conference {
        per.octets(16)?;
    }
    per.choice(2)?;
    let [identifier, _, _, _, _, _, control, fast] = per.additions(extended)?;
    told.identify(identifier);
    told.start(fast);
    told.control = control.and_then(|value| transport(&mut Per::new(value))?);
    Some(())
}

fn progress<'a>(value: &'a [u8], told: &mut Told<'a>) -> Option<()> {
    let mut per = Per::new(value);
    let [_, control, mode, tokens, secrets, fast] = per.flags()?;
    per.open()?;
    endpoint(&mut per)?;
    if control {
        told.control = transport(&mut per)?;
    }
    let extended = per.bit()?;
    told.identifier = per.octets(16)?.first_chunk().copied();
    per.additions(extended)?;
    if fast && !mode && !tokens && !secrets {
        told.fast_start = per.strings()?;
    }
    Some(())
}

impl<'a> Told<'a> {
    fn identify(&mut self, value: Option<&[u8]>) {
        let guid = |value| {
            let mut per = Per::new(value);
            per.bit()?;
            per.octets(16)?.first_chunk().copied()
        };
        self.identifier = value.and_then(guid);
    }

    fn start(&mut self, value: Option<&'a [u8]>) {
        self.fast_start = value.and_then(|value| Per::new(value).strings()).unwrap_or_default();
    }
}

/// `TransportAddress`; the inner `None` for networks other than IP.
fn transport(per: &mut Per<'_>) -> Option<Option<SocketAddr>> {
    match per.choice(3)? {
        Choice::Root(0) => per.v4().map(Some),
        Choice::Root(3) => {
            let extended = per.bit()?;
            let address = per.v6()?;
            per.additions(extended)?;
            Some(Some(address))
        }
        Choice::Root(_) => None,
        Choice::Extension(..) => Some(None),
    }
}

/// A list of `AliasAddress`: the first that is a number, else the first.
fn aliases(per: &mut Per<'_>) -> Option<String> {
    let count = per.length()?;
    let (mut number, mut first) = (String::new(), String::new());
    for _ in 0..count {
        let (is_number, text) = alias(per)?;
        let place = if is_number { &mut number } else { &mut first };
        if place.is_empty() {
            *place = text;
        }
    }
    Some(if number.is_empty() { first } else { number })
}

fn alias(per: &mut Per<'_>) -> Option<(bool, String)> {
    match per.choice(1)? {
        Choice::Root(0) => {
            let count = usize::from(per.bits(7)?) + 1;
            // Four bits each, from the next whole octet on.
            let octets = per.octets(count.div_ceil(2))?;
            let digits = octets.iter().flat_map(|octet| [octet >> 4, octet & 15]).take(count);
            let digit = |value: u8| "#*,0123456789".chars().nth(usize::from(value));
            Some((true, digits.map(digit).collect::<Option<_>>()?))
        }
        Choice::Root(_) => {
            let count = usize::from(per.octet()?) + 1;
            let units = per.octets(count * 2)?.as_chunks::<2>().0;
            let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
            let text = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
            Some((false, text.filter(|c| !c.is_control()).take(MAX_ALIAS).collect()))
        }
        Choice::Extension(..) => Some((false, String::new())),
    }
}

/// `NonStandardParameter`
fn parameter(per: &mut Per<'_>) -> Option<()> {
    match per.choice(1)? {
        Choice::Root(0) => drop(per.open()?),
        Choice::Root(_) => maker(per)?,
        Choice::Extension(..) => {}
    }
    per.open().map(drop)
}

/// `H221NonStandard`
fn maker(per: &mut Per<'_>) -> Option<()> {
    let extended = per.bit()?;
    per.octet()?;
    per.octet()?;
    per.word()?;
    per.additions(extended).map(drop)
}

/// `EndpointType`: passed over.
fn endpoint(per: &mut Per<'_>) -> Option<()> {
    let [extended, non_standard, vendor, gatekeeper, gateway, mcu, terminal] = per.flags()?;
    if non_standard {
        parameter(per)?;
    }
    if vendor {
        let [extended, product, version] = per.flags()?;
        maker(per)?;
        for _ in 0..usize::from(product) + usize::from(version) {
            let length = usize::from(per.octet()?) + 1;
            per.octets(length)?;
        }
        per.additions(extended)?;
    }
    if gatekeeper {
        plain(per)?;
    }
    if gateway {
        let [extended, protocols, non_standard] = per.flags()?;
        if protocols {
            per.list(|per| match per.choice(4)? {
                Choice::Root(0) => parameter(per),
                Choice::Root(_) => plain(per),
                Choice::Extension(..) => Some(()),
            })?;
        }
        if non_standard {
            parameter(per)?;
        }
        per.additions(extended)?;
    }
    for _ in 0..usize::from(mcu) + usize::from(terminal) {
        plain(per)?;
    }
    let [_mc, _undefined] = per.flags()?;
    per.additions(extended).map(drop)
}

/// A sequence of nothing but non-standard data and additions.
fn plain(per: &mut Per<'_>) -> Option<()> {
    let [extended, non_standard] = per.flags()?;
    if non_standard {
        parameter(per)?;
    }
    per.additions(extended).map(drop)
}
