use super::*;
use crate::env::{SeededEntropy, UnixMillis};
use crate::keyspace::{AccessPolicy, Keyspace, Ttl};
use crate::value::{Limits, StrRef};

const LFU: AccessPolicy = AccessPolicy::Lfu { log_factor: 10, decay_minutes: 1 };

fn put(space: &mut Keyspace, db: u32, key: &str, expiry: Option<i64>) {
    let ttl = Ttl::from(expiry.map(UnixMillis));
    space.db_mut(db).set(key.as_bytes(), StrRef::encode(b"v"), ttl, 1);
}

fn victim(space: &mut Keyspace, policy: &str, entropy: &mut SeededEntropy) -> Option<(u32, String)> {
    let policy = EvictionPolicy::from_name(policy).expect("a policy");
    let (db, key) = space.victim(policy, 5, entropy)?;
    assert!(space.db_mut(db).remove(&key, 2), "a victim is there");
    Some((db, String::from_utf8(key).expect("text")))
}

#[test]
fn names_are_those_of_stock() {
    for name in ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random"] {
        assert!(EvictionPolicy::from_name(name).is_some(), "{name}");
    }
    assert!(EvictionPolicy::from_name("volatile-ttl").is_some_and(|policy| policy.order == EvictionOrder::Ttl));
    for name in ["noeviction", "allkeys-ttl", "volatile", "lru"] {
        assert_eq!(EvictionPolicy::from_name(name), None, "{name}");
    }
}

#[test]
fn the_earliest_deadline_goes_first_whatever_its_database() {
    let mut space = Keyspace::new(3, Limits::default());
    for n in 0..300 {
        put(&mut space, n % 3, &format!("k{n}"), Some(1_000_000 + i64::from((n * 7919) % 300)));
        put(&mut space, n % 3, &format!("stays{n}"), None);
    }
    let mut entropy = SeededEntropy::new(1);
    let order: Vec<u32> = std::iter::from_fn(|| victim(&mut space, "volatile-ttl", &mut entropy))
        .map(|(_, key)| key[1..].parse::<u32>().expect("a number") * 7919 % 300)
        .collect();
    assert!(order.iter().copied().eq(0..300), "{order:?}");
    assert_eq!(space.key_count(), 300);
}

#[test]
fn random_victims_are_spread_over_all_keys_of_all_databases() {
    let mut entropy = SeededEntropy::new(2);
    for policy in ["allkeys-random", "volatile-random"] {
        let mut space = Keyspace::new(2, Limits::default());
        for n in 0..4000 {
            // A database of 400 keys beside one of 3600: each key is as likely to go as any other.
            put(&mut space, u32::from(n % 10 == 0), &format!("k{n}"), Some(n));
        }
        let mut gone = [0; 2];
        for _ in 0..2000 {
            gone[victim(&mut space, policy, &mut entropy).expect("keys are left").0 as usize] += 1;
        }
        assert!((150..250).contains(&gone[1]), "{policy}: {gone:?}");
    }
}

/// The oldest tenth of the keys should make up most of the first victims.
#[test]
fn lru_takes_the_idle_ones() {
    for (policy, volatile_share, percent) in [("allkeys-lru", 1, 80), ("volatile-lru", 1, 80), ("volatile-lru", 10, 60)]
    {
        let mut space = Keyspace::new(2, Limits::default());
        let mut second = 1_700_000_000;
        for n in 0..10_000 {
            if n % 100 == 0 {
                second += 1;
                space.set_access_time(UnixMillis(second * 1000));
            }
            put(&mut space, (n % 2) as u32, &format!("{n}"), (n % volatile_share == 0).then_some(i64::MAX / 2));
        }
        let mut entropy = SeededEntropy::new(3);
        let count = 500 / volatile_share;
        let victims: Vec<i64> = (0..count)
            .map(|_| victim(&mut space, policy, &mut entropy).expect("keys are left").1.parse().expect("a number"))
            .collect();
        let old = victims.iter().filter(|n| **n < 1000).count() as i64;
        assert!(old * 100 > count * percent, "{policy} {volatile_share}: {old} of {count}");
        assert!(victims.iter().all(|n| n % volatile_share == 0));
    }
}

#[test]
fn lfu_keeps_what_is_used_often() {
    let mut space = Keyspace::new(1, Limits::default());
    space.set_access_policy(LFU, UnixMillis(1_700_000_000_000));
    for n in 0..2000 {
        put(&mut space, 0, &format!("{n}"), None);
    }
    for _ in 0..200 {
        for n in 0..200 {
            let key = format!("{n}");
            let db = space.db(0);
            db.touch(db.get(key.as_bytes(), UnixMillis(0)).expect("present"));
        }
    }
    let mut entropy = SeededEntropy::new(4);
    for _ in 0..1500 {
        let (_, key) = victim(&mut space, "allkeys-lfu", &mut entropy).expect("keys are left");
        assert!(key.parse::<u32>().expect("a number") >= 200, "{key} was used often");
    }
}

/// A candidate that is used after it was sampled is spared.
#[test]
fn what_was_used_since_it_was_sampled_is_judged_anew() {
    let mut space = Keyspace::new(1, Limits::default());
    space.set_access_time(UnixMillis(1_000_000));
    for n in 0..20 {
        put(&mut space, 0, &format!("{n}"), None);
    }
    let mut entropy = SeededEntropy::new(5);
    victim(&mut space, "allkeys-lru", &mut entropy);
    space.set_access_time(UnixMillis(2_000_000));
    let used: Vec<Vec<u8>> = space.db(0).iter().map(|entry| entry.key().to_vec()).collect();
    for key in &used[1..] {
        let db = space.db(0);
        db.touch(db.get(key, UnixMillis(0)).expect("present"));
    }
    let (_, key) = victim(&mut space, "allkeys-lru", &mut entropy).expect("keys are left");
    assert_eq!(key.as_bytes(), used[0]);
}

#[test]
fn of_equal_keys_all_go_in_the_end() {
    let mut entropy = SeededEntropy::new(8);
    for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu"] {
        let mut space = Keyspace::new(1, Limits::default());
        let keys = 500;
        for n in 0..12 * keys {
            put(&mut space, 0, &format!("k{n}"), Some(1_000_000 + n));
            if n >= keys {
                victim(&mut space, policy, &mut entropy).expect("keys are left");
            }
        }
        // Each was as likely to go as any other, eleven times over: one in 60,000 is left of the first.
        let left = (0..keys).filter(|n| space.db(0).contains(format!("k{n}").as_bytes(), UnixMillis(0))).count();
        assert!(left < 5, "{policy}: {left}");
    }
}

#[test]
fn an_empty_keyspace_has_no_victim() {
    let mut space = Keyspace::new(2, Limits::default());
    let mut entropy = SeededEntropy::new(6);
    for policy in ["allkeys-lru", "volatile-lfu", "allkeys-random", "volatile-ttl"] {
        assert_eq!(victim(&mut space, policy, &mut entropy), None);
    }
    put(&mut space, 1, "k", None);
    assert_eq!(victim(&mut space, "volatile-lru", &mut entropy), None);
    assert_eq!(victim(&mut space, "allkeys-lru", &mut entropy), Some((1, "k".into())));
}
