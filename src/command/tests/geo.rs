//! Geo commands: logging, notifications, and corners that the tables of replies do not show.

use super::support::{TestEngine, check};

#[test]
fn places_are_scores_of_sorted_sets() {
    check(
        "
        GEOADD s 13.361389 38.115556 Palermo 15.087269 37.502669 Catania => :2
        @log => ZADD s 3479099956230698 Palermo 3479447370796909 Catania
        @events => zset:zadd:s
        GEOADD s 13.361389 38.115556 Palermo => :0
        @log => -
        GEOADD s CH 13.5 38 Palermo => :1
        @log => ZADD s CH 3479097324432493 Palermo
        GEOADD s XX CH 1 1 Nowhere => :0
        EXISTS s => :1
        TYPE s => +zset
        GEODIST s Palermo Catania km => 150.1486
        GEOSEARCHSTORE d s FROMLONLAT 15 37 BYRADIUS 200 km ASC => :2
        @log => GEOSEARCHSTORE d s FROMLONLAT 15 37 BYRADIUS 200 km ASC
        @events => zset:geosearchstore:d
        ZRANGE d 0 -1 => [Palermo, Catania]
        GEOSEARCHSTORE d s FROMLONLAT 15 37 BYRADIUS 200 km COUNT 1 STOREDIST => :1
        ZRANGE d 0 -1 => [Catania]
        GEORADIUS s 15 37 200 km STORE e => :2
        @events => zset:georadiusstore:e
        GEORADIUS s 0 0 1 km STORE e => :0
        @events => generic:del:e
        GEORADIUS none 0 0 1 km STORE d => :0
        @log => GEORADIUS none 0 0 1 km STORE d
        EXISTS d e => :0
        GEORADIUS none 0 0 1 km STORE d => :0
        @log => -
        ",
    );
}

/// A search over half the world meets cells that are neighbours on both sides; nobody is told twice.
#[test]
fn huge_searches_find_each_place_once() {
    let mut engine = TestEngine::new();
    for longitude in (-170..=170).step_by(20) {
        for latitude in (-80..=80).step_by(20) {
            engine.line(&format!("GEOADD w {longitude} {latitude} {longitude}:{latitude}"));
        }
    }
    for radius in [1, 500, 3000, 6000, 10_000, 20_100] {
        let found = engine.line(&format!("GEOSEARCH w FROMLONLAT 10 20 BYRADIUS {radius} km ASC"));
        let members: Vec<&str> = found.trim_matches(['[', ']']).split(", ").collect();
        let distinct: std::collections::BTreeSet<&&str> = members.iter().collect();
        assert_eq!(members.len(), distinct.len(), "{radius}");
        if radius == 20_100 {
            assert_eq!(members.len(), 18 * 9);
        }
    }
}
