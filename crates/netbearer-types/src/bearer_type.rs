use std::fmt;

use serde::{Deserialize, Serialize};

/// What carries the traffic of an access point (semantics §1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BearerType {
    /// Cannot be told.
    #[default]
    Unknown,
    /// IEEE 802.3, and everything that looks like it to the kernel.
    Ethernet,
    /// IEEE 802.11.
    #[serde(rename = "WLAN")]
    Wlan,
    /// Circuit-switched or packet-switched mobile data of the second generation.
    #[serde(rename = "2G")]
    Mobile2G,
    /// The third generation, not told apart further.
    #[serde(rename = "3G")]
    Mobile3G,
    /// The fourth generation, not told apart further.
    #[serde(rename = "4G")]
    Mobile4G,
    /// The fifth generation, not told apart further.
    #[serde(rename = "5G")]
    Mobile5G,
    /// CDMA2000.
    #[serde(rename = "CDMA2000")]
    Cdma2000,
    /// Wideband CDMA.
    #[serde(rename = "WCDMA")]
    Wcdma,
    /// High Speed Packet Access.
    #[serde(rename = "HSPA")]
    Hspa,
    /// Evolution-Data Optimized.
    #[serde(rename = "EVDO")]
    Evdo,
    /// Long Term Evolution.
    #[serde(rename = "LTE")]
    Lte,
    /// 5G New Radio.
    #[serde(rename = "NR")]
    Nr,
    /// Bluetooth personal area network.
    Bluetooth,
    /// IEEE 802.16.
    #[serde(rename = "WiMAX")]
    Wimax,
    /// A tunnel that somebody else keeps up.
    #[serde(rename = "VPN")]
    Vpn,
    /// A phone's connection, shared over USB, Bluetooth or Wi-Fi.
    Tethering,
}

/// The coarse family of a bearer type, from the most to the least preferred one (semantics §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BearerFamily {
    /// A cable.
    Wired,
    /// A short-range radio or a neighbour's connection.
    Wireless,
    /// A mobile operator's network.
    Mobile,
    /// A tunnel over one of the others.
    Tunnel,
    /// Cannot be told.
    Unknown,
}

impl BearerType {
    /// The family this bearer type belongs to.
    #[must_use]
    pub const fn family(self) -> BearerFamily {
        match self {
            Self::Unknown => BearerFamily::Unknown,
            Self::Ethernet => BearerFamily::Wired,
            Self::Wlan | Self::Bluetooth | Self::Tethering => BearerFamily::Wireless,
            Self::Mobile2G
            | Self::Mobile3G
            | Self::Mobile4G
            | Self::Mobile5G
            | Self::Cdma2000
            | Self::Wcdma
            | Self::Hspa
            | Self::Evdo
            | Self::Lte
            | Self::Nr
            | Self::Wimax => BearerFamily::Mobile,
            Self::Vpn => BearerFamily::Tunnel,
        }
    }
}

impl fmt::Display for BearerType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Unknown => "Unknown",
            Self::Ethernet => "Ethernet",
            Self::Wlan => "WLAN",
            Self::Mobile2G => "2G",
            Self::Mobile3G => "3G",
            Self::Mobile4G => "4G",
            Self::Mobile5G => "5G",
            Self::Cdma2000 => "CDMA2000",
            Self::Wcdma => "WCDMA",
            Self::Hspa => "HSPA",
            Self::Evdo => "EVDO",
            Self::Lte => "LTE",
            Self::Nr => "NR",
            Self::Bluetooth => "Bluetooth",
            Self::Wimax => "WiMAX",
            Self::Vpn => "VPN",
            Self::Tethering => "Tethering",
        })
    }
}
