//! What of ours belongs to which interface. The tag alone does not tell: a process that is alive, with another runtime
//! directory, has it too. Pure.

use std::collections::BTreeSet;

use netbearer_kernel::{Address, AddressLifetime, AddressSpec, Cache, Route, RouteSpec, Rule, RuleAction, RuleSpec};
use netbearer_types::SteeringPlan;

use crate::{notes::Note, steering};

/// By what that which belongs to some interfaces is known.
#[derive(Debug)]
pub(crate) struct Belongings<'a> {
    plan: &'a SteeringPlan,
    indexes: BTreeSet<u32>,
    /// Rules name interfaces; one that was renamed since has its former name there.
    names: BTreeSet<String>,
    tables: BTreeSet<u32>,
    /// Values and masks.
    marks: BTreeSet<(u32, u32)>,
}

/// What of ours stands in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) rules: Vec<RuleSpec>,
    pub(crate) routes: Vec<RouteSpec>,
    pub(crate) addresses: Vec<AddressSpec>,
}

impl<'a> Belongings<'a> {
    /// Those of interfaces by their indexes, with what is noted of each.
    pub(crate) fn of<'note>(
        interfaces: impl IntoIterator<Item = (u32, Option<&'note Note>)>,
        cache: &Cache,
        plan: &'a SteeringPlan,
    ) -> Self {
        let (mut indexes, mut names, mut tables) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        // Older notes, and those that cannot be read, do not tell the table.
        let mut names_of_tables: BTreeSet<String> = BTreeSet::new();
        for (index, note) in interfaces {
            indexes.insert(index);
            let link = cache.link(index).filter(|link| note.is_none_or(|note| note.is_about_device(link)));
            let known = link.map(|link| link.name.clone()).into_iter().chain(note.map(|note| note.name.clone()));
            let known: Vec<String> = known.collect();
            match note.and_then(|note| note.table) {
                Some(table) => drop(tables.insert(table)),
                None => names_of_tables.extend(known.iter().cloned()),
            }
            names.extend(known);
        }
        let mut belongings = Self { plan, indexes, names, tables, marks: BTreeSet::new() };
        let of_routes = cache.our_routes().filter(|route| belongings.is_over(route)).map(|route| route.table);
        let is_named = |rule: &&Rule| rule.output_interface.as_ref().is_some_and(|name| names_of_tables.contains(name));
        let of_rules = cache.our_rules().filter(is_named).filter_map(table);
        let met: Vec<u32> =
            of_routes.chain(of_rules).filter(|table| belongings.is_of_an_access_point(*table)).collect();
        belongings.tables.extend(met);
        belongings.marks = belongings.marks(cache);
        belongings
    }

    /// The lowest of the tables.
    pub(crate) fn table(&self) -> Option<u32> {
        self.tables.first().copied()
    }

    pub(crate) fn has_address(&self, address: &Address) -> bool {
        self.indexes.contains(&address.index)
    }

    /// In a table of an access point of ours a route without an interface, or over another one, cannot be.
    pub(crate) fn has_route(&self, route: &Route) -> bool {
        self.is_over(route)
    }

    pub(crate) fn has_rule(&self, rule: &Rule) -> bool {
        match (table(rule), rule.mark, &rule.output_interface) {
            (Some(table), ..) if self.is_of_an_access_point(table) => self.tables.contains(&table),
            (_, Some(mark), _) => self.marks.contains(&(mark, rule.mark_mask.unwrap_or(u32::MAX))),
            (.., Some(name)) => self.names.contains(name),
            _ => false,
        }
    }

    /// All of it that is there.
    pub(crate) fn find(&self, cache: &Cache) -> Found {
        Found {
            rules: cache.our_rules().filter(|rule| self.has_rule(rule)).map(RuleSpec::from).collect(),
            routes: cache.our_routes().filter(|route| self.has_route(route)).map(RouteSpec::from).collect(),
            addresses: cache.our_addresses().filter(|address| self.has_address(address)).map(specification).collect(),
        }
    }

    fn is_over(&self, route: &Route) -> bool {
        route.interfaces().any(|index| self.indexes.contains(&index))
    }

    /// The dead end is shared, and the main table is everybody's.
    fn is_of_an_access_point(&self, table: u32) -> bool {
        table != RouteSpec::MAIN_TABLE && table != self.plan.first_table.dead_end()
    }

    /// A rule that refuses what has the mark names no table.
    fn marks(&self, cache: &Cache) -> BTreeSet<(u32, u32)> {
        let is_ours = |number: &u8| self.tables.contains(&self.plan.first_table.table(*number));
        let numbers = steering::numbers().filter(is_ours);
        let fields = &self.plan.mark_fields;
        let planned = numbers.flat_map(|number| fields.iter().map(move |field| (field.mark(number), field.mask())));
        let met = cache.our_rules().filter(|rule| table(rule).is_some_and(|table| self.tables.contains(&table)));
        let met = met.filter_map(|rule| Some((rule.mark?, rule.mark_mask.unwrap_or(u32::MAX))));
        planned.chain(met).collect()
    }
}

fn table(rule: &Rule) -> Option<u32> {
    match rule.action {
        RuleAction::Table(table) => Some(table),
        _ => None,
    }
}

/// As it was made, but for its broadcast address. If it has an end, that counts as passed.
fn specification(address: &Address) -> AddressSpec {
    AddressSpec {
        lifetime: (!address.permanent).then_some(AddressLifetime { valid: 0, preferred: 0 }),
        prefix_route: false,
        optimistic: address.address.is_ipv6(),
        ..AddressSpec::new(address.index, address.address, address.prefix_length)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use netbearer_kernel::{Dump, NextHop, OUR_PROTOCOL, RouteKind, RouterPreference};
    use netbearer_types::Family;

    use super::*;

    const INTERFACE: u32 = 7;
    const OTHER: u32 = 8;
    const TABLE: u32 = 21_001;
    const OTHER_TABLE: u32 = 21_002;
    const DEAD_END: u32 = 21_000;

    fn note(table: Option<u32>) -> Note {
        Note {
            boot: "one".to_owned(),
            index: INTERFACE,
            name: "ap0".to_owned(),
            hardware_address: "02:00:00:00:00:01".to_owned(),
            administratively_up: false,
            settings: Vec::new(),
            mtu: None,
            table,
            beside: false,
            reached: None,
        }
    }

    fn rule(priority: u32, action: RuleAction) -> Rule {
        Rule { protocol: OUR_PROTOCOL, ..Rule::new(Family::V4, priority, action) }
    }

    fn bound(interface: &str, priority: u32, action: RuleAction) -> Rule {
        Rule { output_interface: Some(interface.to_owned()), ..rule(priority, action) }
    }

    fn marked(number: u32, priority: u32, action: RuleAction) -> Rule {
        Rule { mark: Some(number << 24), mark_mask: Some(0x7f00_0000), ..rule(priority, action) }
    }

    fn route(table: u32, interface: u32) -> Route {
        Route {
            family: Family::V4,
            table,
            destination: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)),
            prefix_length: 24,
            metric: interface,
            type_of_service: 0,
            kind: RouteKind::Unicast,
            scope: 253,
            protocol: OUR_PROTOCOL,
            preferred_source: None,
            next_hops: vec![NextHop { gateway: None, interface: Some(interface) }],
            preference: RouterPreference::Medium,
            expires: None,
        }
    }

    fn cache(rules: impl IntoIterator<Item = Rule>, routes: impl IntoIterator<Item = Route>) -> Cache {
        let mut cache = Cache::default();
        cache.update(Dump::Rules(Family::V4, rules.into_iter().collect()));
        cache.update(Dump::Routes(Family::V4, routes.into_iter().collect()));
        cache
    }

    /// The priorities of the rules, and the tables of the routes.
    fn found(note: &Note, cache: &Cache) -> (Vec<u32>, Vec<u32>) {
        let plan = SteeringPlan::default();
        let found = Belongings::of([(note.index, Some(note))], cache, &plan).find(cache);
        let mut tables: Vec<u32> = found.routes.iter().map(|route| route.table).collect();
        tables.sort_unstable();
        (found.rules.iter().map(|rule| rule.priority).collect(), tables)
    }

    #[test]
    fn what_belongs_to_an_interface_is_told_from_what_belongs_to_another() {
        let rules = [
            bound("ap0", 5_100, RuleAction::Table(TABLE)),
            marked(1, 5_110, RuleAction::Table(TABLE)),
            marked(1, 5_111, RuleAction::Unreachable),
            rule(5_120, RuleAction::Table(TABLE)),
            bound("ap1", 6_100, RuleAction::Table(OTHER_TABLE)),
            marked(2, 6_110, RuleAction::Table(OTHER_TABLE)),
            marked(2, 6_111, RuleAction::Unreachable),
            rule(6_120, RuleAction::Table(OTHER_TABLE)),
        ];
        let main = RouteSpec::MAIN_TABLE;
        let routes =
            [(TABLE, INTERFACE), (main, INTERFACE), (DEAD_END, INTERFACE), (OTHER_TABLE, OTHER), (main, OTHER)];
        let cache = cache(rules, routes.map(|(table, interface)| route(table, interface)));
        let expected = (vec![5_100, 5_110, 5_111, 5_120], vec![main, DEAD_END, TABLE]);
        assert_eq!(found(&note(Some(TABLE)), &cache), expected);
        assert_eq!(found(&note(None), &cache), expected, "an older note does not tell the table");
    }

    #[test]
    fn what_is_the_last_of_it_belongs_to_it_still() {
        let refusing =
            cache([marked(1, 5_111, RuleAction::Unreachable), marked(2, 6_111, RuleAction::Unreachable)], []);
        assert_eq!(found(&note(Some(TABLE)), &refusing).0, [5_111]);
        assert_eq!(found(&note(None), &refusing).0, [0; 0], "it could be anybody's");
        let of_another_field = [
            Rule { mark: Some(1), mark_mask: Some(0x7f), ..rule(5_110, RuleAction::Table(TABLE)) },
            Rule { mark: Some(1), mark_mask: Some(0x7f), ..rule(5_111, RuleAction::Unreachable) },
        ];
        assert_eq!(found(&note(Some(TABLE)), &cache(of_another_field, [])).0, [5_110, 5_111], "the plan was changed");
    }

    #[test]
    fn what_keeps_bound_sockets_in_a_tunnel_is_known_by_the_interface() {
        let outside = |name| {
            [
                Rule {
                    suppressed_prefix_length: Some(1),
                    ..bound(name, 5_100, RuleAction::Table(RouteSpec::MAIN_TABLE))
                },
                bound(name, 5_101, RuleAction::Table(DEAD_END)),
            ]
        };
        let cache = cache(outside("ap0").into_iter().chain(outside("ap1")), []);
        assert_eq!(found(&note(Some(TABLE)), &cache).0, [5_100, 5_101]);
    }

    #[test]
    fn a_name_that_another_interface_has_by_now_does_not_make_its_table_ours() {
        let cache = cache([bound("ap0", 6_100, RuleAction::Table(OTHER_TABLE))], [route(OTHER_TABLE, OTHER)]);
        // An older note has nothing better than the name.
        assert_eq!(found(&note(Some(TABLE)), &cache).0, [0; 0]);
    }
}
