import { defineChannel, Serializable } from 'nestjs-messaging/client';

/** What is sent beside everything hostile; each of them has to arrive, in order. */
@Serializable({ name: 'Numbered' })
export class Numbered {
  /** @param run - tells them from whatever a hostile sender makes of one */
  constructor(
    readonly run: string,
    readonly n: number,
  ) {}
}

export const Good = defineChannel('good', Numbered, { clients: true });

/** The same with a history, among others that are attacked. */
export const GoodKept = defineChannel('good-kept', Numbered, {
  clients: true,
  history: { maxMessages: 100_000, ttlMs: 3_600_000 },
});
