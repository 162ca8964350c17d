//! Which places lie in a circle or in a box: GEOSEARCH, GEORADIUS and their kin, which share all but their first words.

use std::ops::Bound;

use super::geohash::{Cell, Point};
use super::shape::{Form, Shape};
use super::{DECLARATION, OVERWRITE, READ, point, reply_distance, reply_point, unit};
use crate::command::{Args, Begin, Command, CommandError, Cx, Deprecated, Find, Flags, KeySpec, quoted};
use crate::value::{Zset, ZsetRef};

const RADIUS_COMPLEXITY: &str = "O(N+log(M)) where N is the number of elements inside the bounding box of the circular \
                                 area delimited by center and radius and M is the number of items inside the index.";
const SEARCH_COMPLEXITY: &str = "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area \
                                 around the shape provided as the filter and M is the number of items inside the shape";

/// The key behind `STORE` or `STOREDIST`.
const fn store_key(word: &'static str, from: i32) -> KeySpec {
    KeySpec { flags: OVERWRITE, begin: Begin::Keyword { word, from }, find: Find::Range { last: 0, step: 1, limit: 0 } }
}

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "georadius",
        arity: -6,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLEKEYS),
        keys: &[KeySpec::first(READ), store_key("STORE", 6), store_key("STOREDIST", 6)],
        run: georadius,
        since: "3.2.0",
        complexity: RADIUS_COMPLEXITY,
        summary: "Places of a sorted set within a distance from a point; also stores them.",
        syntax: "key longitude:double latitude:double radius:double unit:<M | KM | FT | MI> [WITHCOORD] [WITHDIST] \
                 [WITHHASH] [count:(COUNT count:integer [ANY {6.2.0}])] [order:<ASC | DESC>] [STORE key] [STOREDIST \
                 key]",
        deprecated: Some(Deprecated {
            since: "6.2.0",
            replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument",
        }),
        ..DECLARATION
    },
    Command {
        name: "georadius_ro",
        arity: -6,
        flags: Flags::READ,
        keys: &[KeySpec::first(READ)],
        run: georadius_ro,
        since: "3.2.10",
        complexity: RADIUS_COMPLEXITY,
        summary: "Places of a sorted set within a distance from a point.",
        syntax: "key longitude:double latitude:double radius:double unit:<M | KM | FT | MI> [WITHCOORD] [WITHDIST] \
                 [WITHHASH] [count:(COUNT count:integer [ANY {6.2.0}])] [order:<ASC | DESC>]",
        deprecated: Some(Deprecated { since: "6.2.0", replaced_by: "`GEOSEARCH` with the `BYRADIUS` argument" }),
        ..DECLARATION
    },
    Command {
        name: "georadiusbymember",
        arity: -5,
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLEKEYS),
        keys: &[KeySpec::first(READ), store_key("STORE", 5), store_key("STOREDIST", 5)],
        run: georadiusbymember,
        since: "3.2.0",
        complexity: RADIUS_COMPLEXITY,
        summary: "Places of a sorted set within a distance from one of them; also stores them.",
        syntax: "key member radius:double unit:<M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [count:(COUNT \
                 count:integer [ANY])] [order:<ASC | DESC>] [STORE key] [STOREDIST key]",
        deprecated: Some(Deprecated {
            since: "6.2.0",
            replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
        }),
        ..DECLARATION
    },
    Command {
        name: "georadiusbymember_ro",
        arity: -5,
        flags: Flags::READ,
        keys: &[KeySpec::first(READ)],
        run: georadiusbymember_ro,
        since: "3.2.10",
        complexity: RADIUS_COMPLEXITY,
        summary: "Places of a sorted set within a distance from one of them.",
        syntax: "key member radius:double unit:<M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [count:(COUNT \
                 count:integer [ANY])] [order:<ASC | DESC>]",
        deprecated: Some(Deprecated {
            since: "6.2.0",
            replaced_by: "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments",
        }),
        ..DECLARATION
    },
    Command {
        name: "geosearch",
        arity: -7,
        flags: Flags::READ,
        keys: &[KeySpec::first(READ)],
        run: geosearch,
        since: "6.2.0",
        complexity: SEARCH_COMPLEXITY,
        summary: "Places of a sorted set in a circle or a box.",
        syntax: "key from:<FROMMEMBER member | FROMLONLAT longitude_latitude:(longitude:double latitude:double)> \
                 by:<circle:(BYRADIUS radius:double unit:<M | KM | FT | MI>) | box:(BYBOX width:double height:double \
                 unit:<M | KM | FT | MI>)> [order:<ASC | DESC>] [count:(COUNT count:integer [ANY])] [WITHCOORD] \
                 [WITHDIST] [WITHHASH]",
        ..DECLARATION
    },
    Command {
        name: "geosearchstore",
        arity: -8,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: &[KeySpec::first(OVERWRITE), KeySpec::at(2, READ)],
        run: geosearchstore,
        since: "6.2.0",
        complexity: SEARCH_COMPLEXITY,
        summary: "Stores the places of a sorted set in a circle or a box in another sorted set.",
        syntax: "destination:key source:key from:<FROMMEMBER member | FROMLONLAT longitude_latitude:(longitude:double \
                 latitude:double)> by:<circle:(BYRADIUS radius:double unit:<M | KM | FT | MI>) | box:(BYBOX \
                 width:double height:double unit:<M | KM | FT | MI>)> [order:<ASC | DESC>] [count:(COUNT \
                 count:integer [ANY])] [STOREDIST]",
        ..DECLARATION
    },
];

/// What the words behind the key mean to the command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grammar {
    /// Center and form are options.
    Search,
    SearchStore,
    /// Center and radius came first; `STORE` and `STOREDIST` name a key.
    Radius,
    RadiusReadOnly,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Nearest,
    Farthest,
}

/// What is asked for.
struct Query<'a> {
    /// `None` where the center is a member of a set that is not there.
    center: Option<Point>,
    from_given: bool,
    /// The form and its unit.
    form: Option<(Form, f64)>,
    order: Option<Order>,
    count: Option<usize>,
    /// Any so many will do, not the nearest.
    any: bool,
    with_distance: bool,
    with_score: bool,
    with_point: bool,
    store_at: Option<&'a [u8]>,
    store_distances: bool,
}

impl<'a> Query<'a> {
    fn new(center: Option<Point>, form: Option<(Form, f64)>) -> Self {
        Self {
            center,
            from_given: false,
            form,
            order: None,
            count: None,
            any: false,
            with_distance: false,
            with_score: false,
            with_point: false,
            store_at: None,
            store_distances: false,
        }
    }

    fn read_options(
        &mut self,
        args: &mut Args<'a>,
        grammar: Grammar,
        zset: Option<ZsetRef<'_>>,
    ) -> Result<(), CommandError> {
        let searches = matches!(grammar, Grammar::Search | Grammar::SearchStore);
        let is_circle = |form: Option<(Form, f64)>| matches!(form, Some((Form::Circle { .. }, _)));
        let (mut by_member, mut by_point) = (false, false);
        while !args.is_empty() {
            let behind = args.remaining() - 1;
            if args.word("withdist") {
                self.with_distance = true;
            } else if args.word("withhash") {
                self.with_score = true;
            } else if args.word("withcoord") {
                self.with_point = true;
            } else if args.word("any") {
                self.any = true;
            } else if args.word("asc") {
                self.order = Some(Order::Nearest);
            } else if args.word("desc") {
                self.order = Some(Order::Farthest);
            } else if behind >= 1 && args.word("count") {
                let count = args.int();
                args.check()?;
                let count = usize::try_from(count).ok().filter(|count| *count > 0);
                self.count = Some(count.ok_or(CommandError::fixed("ERR COUNT must be > 0"))?);
            } else if behind >= 1 && grammar == Grammar::Radius && args.word("store") {
                (self.store_at, self.store_distances) = (Some(args.bytes()), false);
            } else if behind >= 1 && grammar == Grammar::Radius && args.word("storedist") {
                (self.store_at, self.store_distances) = (Some(args.bytes()), true);
            } else if searches && behind >= 1 && !by_point && args.word("frommember") {
                by_member = true;
                let member = args.bytes();
                if let Some(zset) = zset {
                    self.center = Some(place_of(zset, member)?);
                }
            } else if searches && behind >= 2 && !by_member && args.word("fromlonlat") {
                by_point = true;
                self.center = Some(point(args)?);
            } else if searches && behind >= 2 && (self.form.is_none() || is_circle(self.form)) && args.word("byradius")
            {
                self.form = Some(circle(args)?);
            } else if searches && behind >= 3 && !is_circle(self.form) && args.word("bybox") {
                self.form = Some(rectangle(args)?);
            } else if grammar == Grammar::SearchStore && args.word("storedist") {
                self.store_distances = true;
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        self.from_given = by_member || by_point;
        Ok(())
    }

    /// Refuses options that do not go together. `name`: the command's, as it was sent.
    fn check(&self, name: &[u8], grammar: Grammar) -> Result<(), CommandError> {
        let searches = matches!(grammar, Grammar::Search | Grammar::SearchStore);
        let name = quoted(name);
        let error = if self.store_at.is_some() && (self.with_distance || self.with_score || self.with_point) {
            let store = if searches { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            format!("ERR {store} is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
        } else if searches && !self.from_given {
            format!("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}")
        } else if searches && self.form.is_none() {
            format!("ERR exactly one of BYRADIUS and BYBOX can be specified for {name}")
        } else if self.any && self.count.is_none() {
            "ERR the ANY argument requires COUNT argument".to_owned()
        } else {
            return Ok(());
        };
        Err(CommandError::new(error))
    }
}

/// A place that was found.
struct Found {
    member: Vec<u8>,
    score: f64,
    point: Point,
    /// In meters, from the center.
    distance: f64,
}

fn place_of(zset: ZsetRef<'_>, member: &[u8]) -> Result<Point, CommandError> {
    let score = zset.score(member).ok_or(CommandError::fixed("ERR could not decode requested zset member"))?;
    Ok(Point::of_score(score))
}

/// Reads a radius and its unit.
fn circle(args: &mut Args<'_>) -> Result<(Form, f64), CommandError> {
    let radius = args.float_or(CommandError::fixed("ERR need numeric radius"));
    args.check()?;
    if radius < 0.0 {
        return Err(CommandError::fixed("ERR radius cannot be negative"));
    }
    Ok((Form::Circle { radius }, unit(args)?))
}

/// Reads a width, a height and their unit.
fn rectangle(args: &mut Args<'_>) -> Result<(Form, f64), CommandError> {
    let width = args.float_or(CommandError::fixed("ERR need numeric width"));
    let height = args.float_or(CommandError::fixed("ERR need numeric height"));
    args.check()?;
    if width < 0.0 || height < 0.0 {
        return Err(CommandError::fixed("ERR height or width cannot be negative"));
    }
    Ok((Form::Box { width, height }, unit(args)?))
}

fn georadius(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    around_point(cx, args, Grammar::Radius)
}

fn georadius_ro(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    around_point(cx, args, Grammar::RadiusReadOnly)
}

fn georadiusbymember(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    around_member(cx, args, Grammar::Radius)
}

fn georadiusbymember_ro(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    around_member(cx, args, Grammar::RadiusReadOnly)
}

fn geosearch(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let key = args.bytes();
    let zset = cx.get::<Zset>(key)?;
    run(cx, args, Grammar::Search, zset.as_ref().map(Zset::as_ref), Query::new(None, None))
}

fn geosearchstore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (destination, source) = (args.bytes(), args.bytes());
    let zset = cx.get::<Zset>(source)?;
    let query = Query { store_at: Some(destination), ..Query::new(None, None) };
    run(cx, args, Grammar::SearchStore, zset.as_ref().map(Zset::as_ref), query)
}

fn around_point(cx: &mut Cx<'_>, args: &mut Args<'_>, grammar: Grammar) -> Result<(), CommandError> {
    let key = args.bytes();
    let zset = cx.get::<Zset>(key)?;
    let query = Query::new(Some(point(args)?), Some(circle(args)?));
    run(cx, args, grammar, zset.as_ref().map(Zset::as_ref), query)
}

fn around_member(cx: &mut Cx<'_>, args: &mut Args<'_>, grammar: Grammar) -> Result<(), CommandError> {
    let (key, member) = (args.bytes(), args.bytes());
    let zset = cx.get::<Zset>(key)?;
    let query = match &zset {
        Some(zset) => Query::new(Some(place_of(zset.as_ref(), member)?), Some(circle(args)?)),
        // Without a set nothing is known of the center, and stock does not look at the radius either.
        None => {
            args.take(2);
            Query::new(None, None)
        }
    };
    run(cx, args, grammar, zset.as_ref().map(Zset::as_ref), query)
}

/// Reads the options, searches, and replies or stores.
fn run<'a>(
    cx: &mut Cx<'_>,
    args: &mut Args<'a>,
    grammar: Grammar,
    zset: Option<ZsetRef<'_>>,
    mut query: Query<'a>,
) -> Result<(), CommandError> {
    query.read_options(args, grammar, zset)?;
    query.check(args.argv()[0], grammar)?;
    let unit = query.form.map_or(1.0, |(_, unit)| unit);
    let found = match (zset, query.center, query.form) {
        (Some(zset), Some(center), Some((form, unit))) => find(zset, Shape { center, form, unit }, &query),
        _ => Vec::new(),
    };
    let Some(store_at) = query.store_at else {
        reply(cx, &query, unit, &found);
        return Ok(());
    };
    let (mut result, limits) = (Zset::default(), cx.limits());
    result.expect(found.len(), 0, &limits);
    for place in &found {
        let score = if query.store_distances { place.distance / unit } else { place.score };
        result.set(&place.member, score, &limits);
    }
    let event = if grammar == Grammar::SearchStore { "geosearchstore" } else { "georadiusstore" };
    cx.put_result(store_at, result, event);
    Ok(())
}

/// The places in a shape: in the asked order, else cell by cell.
fn find(zset: ZsetRef<'_>, shape: Shape, query: &Query<'_>) -> Vec<Found> {
    let enough = query.count.filter(|_| query.any).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    let mut searched: Option<Cell> = None;
    for (number, cell) in shape.cells().into_iter().enumerate() {
        // Where cells are huge, neighbours on both sides are the same one. As in stock, each is compared with the one
        // before, but not with the one in the middle.
        if searched == Some(cell) {
            continue;
        }
        if number > 0 {
            searched = Some(cell);
        }
        let (first, behind) = cell.scores();
        let span = zset.score_span(Bound::Included(first), Bound::Excluded(behind));
        let places = zset.iter_range(span).filter_map(|(member, score)| {
            let point = Point::of_score(score);
            let distance = shape.distance_within(point)?;
            Some(Found { member: member.to_vec(), score, point, distance })
        });
        let room = enough - found.len();
        found.extend(places.take(room));
        if found.len() >= enough {
            break;
        }
    }
    let by_distance = |a: &Found, b: &Found| a.distance.total_cmp(&b.distance);
    match query.order.or(query.count.filter(|_| !query.any).map(|_| Order::Nearest)) {
        Some(Order::Nearest) => found.sort_by(by_distance),
        Some(Order::Farthest) => found.sort_by(|a, b| by_distance(b, a)),
        None => {}
    }
    found.truncate(query.count.unwrap_or(usize::MAX));
    found
}

fn reply(cx: &mut Cx<'_>, query: &Query<'_>, unit: f64, found: &[Found]) {
    let options = [query.with_distance, query.with_score, query.with_point];
    let extras = options.into_iter().filter(|option| *option).count();
    let reply = &mut *cx.reply;
    reply.array(found.len());
    for place in found {
        if extras > 0 {
            reply.array(1 + extras);
        }
        reply.bulk(&place.member);
        if query.with_distance {
            reply_distance(reply, place.distance / unit);
        }
        if query.with_score {
            reply.int(place.score as i64);
        }
        if query.with_point {
            reply_point(reply, place.point);
        }
    }
}
