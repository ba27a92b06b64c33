//! UDP ports behind which another packet may hide.
//!
//! Law: a port is only a hint, the content decides. Asking costs one look into a table of bits.

/// Destination ports taken for a tunnel, or an agent's, when the content agrees.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TunnelPorts {
    /// VXLAN (RFC 7348), its generic protocol extension, and what Linux uses.
    pub vxlan: Vec<u16>,
    /// Geneve (RFC 8926).
    pub geneve: Vec<u16>,
    /// GTP-U (3GPP TS 29.281).
    pub gtp_u: Vec<u16>,
    /// TZSP.
    pub tzsp: Vec<u16>,
    /// Oreka's encapsulation; TCP on the same and the next port.
    pub oreka: Vec<u16>,
    /// HEP, over UDP and TCP.
    pub hep: Vec<u16>,
}

impl Default for TunnelPorts {
    fn default() -> Self {
        Self {
            vxlan: vec![4789, 4790, 8472],
            geneve: vec![6081],
            gtp_u: vec![2152],
            tzsp: vec![37_008],
            oreka: vec![10_002],
            hep: vec![9060],
        }
    }
}

/// GRE in UDP (RFC 8086): nobody moves it.
const GRE_IN_UDP: u16 = 4754;

/// What may stand behind a UDP header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tunnel {
    Vxlan,
    Geneve,
    GtpU,
    Tzsp,
    Gre,
    Oreka,
    Hep,
}

/// What may stand behind a TCP header, in a stream of packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Carrier {
    /// HEP version 3.
    Hep,
    /// Records of Oreka's encapsulation.
    Oreka,
}

const WORDS: usize = 1024;

/// The ports as the decoder asks for them.
#[derive(Debug)]
pub(super) struct Ports {
    /// A bit a port.
    marked: Box<[u64; WORDS]>,
    known: Vec<(u16, Tunnel)>,
    carriers: Vec<(u16, Carrier)>,
}

impl Ports {
    pub(super) fn new(ports: &TunnelPorts) -> Self {
        let lists = [
            (&ports.vxlan, Tunnel::Vxlan),
            (&ports.geneve, Tunnel::Geneve),
            (&ports.gtp_u, Tunnel::GtpU),
            (&ports.tzsp, Tunnel::Tzsp),
            (&ports.oreka, Tunnel::Oreka),
            (&ports.hep, Tunnel::Hep),
        ];
        let mut known: Vec<(u16, Tunnel)> = Vec::new();
        for (list, tunnel) in lists {
            known.extend(list.iter().map(|port| (*port, tunnel)));
        }
        known.push((GRE_IN_UDP, Tunnel::Gre));
        let mut marked = Box::new([0; WORDS]);
        for (port, _) in &known {
            if let Some(word) = marked.get_mut(usize::from(port >> 6)) {
                *word |= 1 << (port & 63);
            }
        }
        let mut carriers: Vec<(u16, Carrier)> =
            ports.hep.iter().map(|port| (*port, Carrier::Hep)).collect();
        for port in &ports.oreka {
            carriers.push((*port, Carrier::Oreka));
            carriers.extend(port.checked_add(1).map(|next| (next, Carrier::Oreka)));
        }
        Self { marked, known, carriers }
    }

    /// Whether a datagram to this port may carry another packet.
    #[inline]
    pub(super) fn may_be_tunnel(&self, port: u16) -> bool {
        self.marked.get(usize::from(port >> 6)).is_some_and(|word| word >> (port & 63) & 1 == 1)
    }

    /// What it carries if the content agrees; where several lists name a port, the first has it.
    pub(super) fn tunnel(&self, port: u16) -> Option<Tunnel> {
        if !self.may_be_tunnel(port) {
            return None;
        }
        self.known.iter().find(|(known, _)| *known == port).map(|(_, tunnel)| *tunnel)
    }

    /// The same of a TCP connection to this port.
    pub(super) fn carrier(&self, port: u16) -> Option<Carrier> {
        self.carriers.iter().find(|(known, _)| *known == port).map(|(_, carrier)| *carrier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_for_each_port_and_no_other() {
        let named =
            TunnelPorts { vxlan: vec![0, 65_535], hep: vec![4754], ..TunnelPorts::default() };
        let ports = Ports::new(&named);
        let marked: Vec<u16> = (0..=u16::MAX).filter(|port| ports.may_be_tunnel(*port)).collect();
        assert_eq!(marked, [0, 2152, 4754, 6081, 10_002, 37_008, 65_535]);
        assert_eq!(ports.tunnel(4754), Some(Tunnel::Hep));
        assert_eq!((ports.tunnel(65_535), ports.tunnel(1)), (Some(Tunnel::Vxlan), None));
        assert_eq!(ports.carrier(10_003), Some(Carrier::Oreka));
        assert_eq!((ports.carrier(4754), ports.carrier(9060)), (Some(Carrier::Hep), None));
    }
}
