/** What has a heart that beats. */
interface Beating {
  beat(): void;
}

/** Lets connections beat at intervals: one timer serves all with the same interval. */
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
      for (const member of members) member.beat();
    };
    const group = { timer: setInterval(beat, intervalMs).unref(), members };
    this.groups.set(intervalMs, group);
    return group;
  }
}
