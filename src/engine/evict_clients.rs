//! Staying below `maxmemory-clients`: the connections that hold most are ended.

use super::client::Client;
use super::parts::Parts;
use crate::command::ClientId;
use crate::env::UnixMillis;

impl Parts {
    /// Ends the largest connections until all together hold less than `limit` bytes. Those under CLIENT NO-EVICT count
    /// and stay.
    pub fn evict_clients(&mut self, limit: usize, now: UnixMillis) {
        let present = || self.clients.iter().filter(|client| !client.closing);
        let mut total: usize = present().map(Client::memory_bytes).sum();
        if total < limit {
            return;
        }
        let mut evictable: Vec<(usize, ClientId)> =
            present().filter(|client| !client.no_evict).map(|client| (client.memory_bytes(), client.id)).collect();
        evictable.sort_unstable();
        while total >= limit
            && let Some((bytes, id)) = evictable.pop()
        {
            if let Some(client) = self.clients.get(id) {
                tracing::info!("Evicting client: {}", (self.describe_client)(client, self, now));
            }
            self.end_client(id);
            self.stats.evicted_clients += 1;
            total -= bytes;
        }
        if total >= limit {
            tracing::debug!("Over client maxmemory, but no evictable clients");
        }
    }
}
