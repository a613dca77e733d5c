import { defineChannel, Serializable } from 'nestjs-messaging/client';

/** Sent beside everything hostile; each one must arrive, in order. */
@Serializable({ name: 'Numbered' })
export class Numbered {
  /** @param run - tells them apart from any that a hostile sender makes up */
  constructor(
    readonly run: string,
    readonly n: number,
  ) {}
}

export const Good = defineChannel('good', Numbered, { clients: true });

/** The same with a history, beside attacked channels with history. */
export const GoodKept = defineChannel('good-kept', Numbered, {
  clients: true,
  history: { maxMessages: 100_000, ttlMs: 3_600_000 },
});
