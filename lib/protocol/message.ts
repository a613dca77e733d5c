/** A class whose instances are messages, or part of one. Its constructor is never run on arrival. */
// oxlint-disable-next-line typescript/no-explicit-any -- only `any[]` accepts every constructor
export type Class<T = unknown> = abstract new (...args: any[]) => T;

/**
 * Base of messages that are sent from a source with `sendMessage(source, message)`. It holds nothing:
 * a message is transient, has no primary key and is never stored as data.
 *
 * @example
 * ```ts
 * class ChatMessage extends Message {
 *   constructor(readonly author: string, readonly text: string) {
 *     super();
 *   }
 * }
 * ```
 */
export abstract class Message {}
