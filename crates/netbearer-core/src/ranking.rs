use std::cmp::Reverse;

use netbearer_types::StateFlags;

use crate::access_point::AccessPoint;

/// The one to take when nobody asks for another: Active before Discovered, then by preference, wired before wireless
/// before mobile (§9). What is left equal goes by default route, then by name, so that the answer is stable.
pub(crate) fn best<'a>(access_points: impl Iterator<Item = &'a AccessPoint>) -> Option<&'a AccessPoint> {
    access_points.filter(|access_point| access_point.flags() >= StateFlags::Discovered).min_by_key(|found| order(found))
}

/// The lower, the better.
pub(crate) fn order(access_point: &AccessPoint) -> impl Ord + use<> {
    (
        Reverse(access_point.flags()),
        Reverse(access_point.profile.preference),
        access_point.report.bearer_type.family(),
        !access_point.has_default_route(),
        access_point.name().to_owned(),
    )
}
