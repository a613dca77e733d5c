import type { RedisClient } from './redis-client.js';

/** After so many beats without an answer the connection is taken for dead. */
const SILENT_BEATS = 2;

/**
 * Watches the connection by which ioredis' `Cluster` hears a member. ioredis takes another member, and subscribes there
 * anew, if it ends; that it has fallen silent ioredis does not notice.
 */
export class ClusterSubscription {
  private watched: RedisClient | undefined = undefined;
  private unansweredBeats = 0;

  /** To be called at intervals, with the connection as it is now. */
  beat(connection: RedisClient | undefined): void {
    if (this.watched !== connection) {
      this.watched = connection;
      this.unansweredBeats = 0;
    }
    // One that nobody has subscribed by is not connected.
    if (connection === undefined || connection.status === 'wait' || connection.status === 'end') return;
    if (this.unansweredBeats >= SILENT_BEATS) {
      this.watched = undefined;
      connection.disconnect();
      return;
    }
    this.unansweredBeats++;
    const answered = (): void => {
      if (this.watched === connection) this.unansweredBeats = 0;
    };
    connection.ping().then(answered, () => undefined);
  }
}
