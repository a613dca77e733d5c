import { COMMENT_FRAME } from './frame.js';

/** What a heartbeat is sent to. */
export interface Beating {
  send(frame: Buffer): unknown;
}

/**
 * Sends comments to idle connections, so that proxies do not cut them and a dead one is noticed. One timer
 * serves all connections with the same interval.
 */
export class Heartbeat {
  private readonly groups = new Map<number, { timer: NodeJS.Timeout; members: Set<Beating> }>();

  /**
   * Adds a connection.
   *
   * @param intervalMs - 0: none
   * @returns removes it
   */
  add(connection: Beating, intervalMs: number): () => void {
    if (intervalMs === 0) return () => {};
    const group = this.groups.get(intervalMs) ?? this.createGroup(intervalMs);
    group.members.add(connection);
    return () => {
      group.members.delete(connection);
      if (group.members.size > 0 || this.groups.get(intervalMs) !== group) return;
      clearInterval(group.timer);
      this.groups.delete(intervalMs);
    };
  }

  private createGroup(intervalMs: number) {
    const members = new Set<Beating>();
    const beat = () => {
      for (const member of members) member.send(COMMENT_FRAME);
    };
    const group = { timer: setInterval(beat, intervalMs).unref(), members };
    this.groups.set(intervalMs, group);
    return group;
  }
}
