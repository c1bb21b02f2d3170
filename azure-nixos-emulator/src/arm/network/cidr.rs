//! Address prefixes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::answer::Result;
use super::super::error::ArmError;

/// A network address and the length of its prefix. IPv4 addresses are the low 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    address: u128,
    length: u32,
    is_v4: bool,
}

impl Cidr {
    /// Reads `10.0.0.0/24` or the like; `owner` is the resource that has it, for the message.
    pub(crate) fn parse(text: &str, owner: &str) -> Result<Self> {
        let malformed = || {
            ArmError::network(
                400,
                "InvalidAddressPrefixFormat",
                format!(
                    "Address prefix {text} of resource {owner} is not formatted correctly. It should follow CIDR notation, for example 10.0.0.0/24."
                ),
            )
        };
        let (address, length) = text.split_once('/').ok_or_else(malformed)?;
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let length: u32 = length.parse().map_err(|_| malformed())?;
        let (address, is_v4) = match address {
            IpAddr::V4(address) => (u128::from(u32::from(address)), true),
            IpAddr::V6(address) => (u128::from(address), false),
        };
        let cidr = Self {
            address,
            length,
            is_v4,
        };
        if length > cidr.width() {
            return Err(malformed());
        }
        let base = Self {
            address: address & !cidr.host_mask(),
            ..cidr
        };
        if base != cidr {
            return Err(ArmError::network(
                400,
                "InvalidCIDRNotation",
                format!(
                    "The address prefix {text} in resource {owner} has an invalid CIDR notation. For the given prefix length, the address prefix should be {base}."
                ),
            ));
        }
        Ok(cidr)
    }

    fn width(self) -> u32 {
        if self.is_v4 { 32 } else { 128 }
    }

    fn host_mask(self) -> u128 {
        1_u128
            .checked_shl(self.width() - self.length)
            .map_or(u128::MAX, |size| size - 1)
    }

    pub(crate) fn is_v4(self) -> bool {
        self.is_v4
    }

    /// Whether all of `other` is inside.
    pub(crate) fn covers(self, other: Self) -> bool {
        self.is_v4 == other.is_v4
            && self.length <= other.length
            && other.address & !self.host_mask() == self.address
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The length of the prefix, in bits.
    pub(crate) fn length(self) -> u32 {
        self.length
    }

    /// Whether an address is inside.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        self.is_v4 == address.is_ipv4() && number(address) & !self.host_mask() == self.address
    }

    /// The addresses that Azure gives out: not the first four and not the last.
    pub(crate) fn usable(self) -> impl Iterator<Item = IpAddr> {
        let last = self.address + self.host_mask();
        (self.address + 4..last).filter_map(move |address| self.address(address))
    }

    /// Whether an address inside is one of those.
    pub(crate) fn is_usable(self, address: IpAddr) -> bool {
        let address = number(address);
        address >= self.address + 4 && address < self.address + self.host_mask()
    }

    /// A number as an address of this family.
    fn address(self, number: u128) -> Option<IpAddr> {
        if self.is_v4 {
            let number = u32::try_from(number).ok()?;
            Some(Ipv4Addr::from(number).into())
        } else {
            Some(Ipv6Addr::from(number).into())
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_v4 {
            let address = u32::try_from(self.address).unwrap_or_default();
            write!(f, "{}/{}", Ipv4Addr::from(address), self.length)
        } else {
            write!(f, "{}/{}", Ipv6Addr::from(self.address), self.length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        Cidr::parse(text, "r").unwrap()
    }

    #[test]
    fn prefixes_cover_and_overlap() {
        assert!(cidr("10.0.0.0/16").covers(cidr("10.0.255.0/24")));
        assert!(!cidr("10.0.0.0/24").covers(cidr("10.0.0.0/16")));
        assert!(cidr("10.0.0.0/24").overlaps(cidr("10.0.0.0/16")));
        assert!(!cidr("10.0.0.0/24").overlaps(cidr("10.0.1.0/24")));
        assert!(cidr("0.0.0.0/0").covers(cidr("1.2.3.4/32")));
        assert!(!cidr("::/0").covers(cidr("1.2.3.4/32")));
    }

    #[test]
    fn bad_prefixes_are_told_apart() {
        for text in ["10.0.0.0", "10.0.0/24", "10.0.0.0/33", "x/24"] {
            let error = Cidr::parse(text, "r").unwrap_err();
            assert_eq!(error.code, "InvalidAddressPrefixFormat", "{text}");
        }
        let error = Cidr::parse("10.0.0.5/24", "r").unwrap_err();
        assert_eq!(error.code, "InvalidCIDRNotation");
        assert!(error.message.contains("10.0.0.0/24"));
    }

    #[test]
    fn the_first_address_given_out_is_the_fifth() {
        let subnet = cidr("10.0.0.0/29");
        let usable: Vec<_> = subnet.usable().map(|a| a.to_string()).collect();
        assert_eq!(usable, ["10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        assert!(!subnet.is_usable(Ipv4Addr::new(10, 0, 0, 7).into()));
        let subnet = cidr("fd00:db8::/64");
        let first = subnet.usable().next().unwrap();
        assert_eq!(first.to_string(), "fd00:db8::4");
        assert!(subnet.contains(first) && subnet.is_usable(first));
        assert!(!subnet.contains(Ipv4Addr::new(10, 0, 0, 7).into()));
    }
}
