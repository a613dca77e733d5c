import { kindOf } from '../protocol/channel-name.js';
import { InvalidMessageError } from '../protocol/errors.js';

/**
 * The packets between nodes: a question, its answer, or a failure if there is no answer; or a call, which each node that hears it
 * answers without a body.
 */
export type NodePacket =
  | { readonly kind: 'call'; readonly id: string; readonly from: string }
  | { readonly kind: 'question'; readonly id: string; readonly from: string; readonly body: unknown }
  | { readonly kind: 'answer'; readonly id: string; readonly body: unknown }
  | { readonly kind: 'failure'; readonly id: string; readonly reason: FailureReason };

/** Why a question has no answer: it is longer than a message may be, or the node failed to produce it. */
export type FailureReason = 'tooLong' | 'failed';

const UUID = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/;

/** Whether a value is a valid node id. It becomes part of a channel name and may come from the network. */
export function isNodeId(value: unknown): value is string {
  return typeof value === 'string' && UUID.test(value);
}

/**
 * Reads a packet from a node's own channel. The body is unchecked: its reader has to check it.
 *
 * @throws InvalidMessageError that names what is wrong
 */
export function readNodePacket(value: unknown): NodePacket {
  if (typeof value !== 'object' || value === null) {
    throw new InvalidMessageError(`a packet of another node is not ${kindOf(value)}`);
  }
  const { kind, id, from, reason, body } = value as Record<string, unknown>;
  if (typeof id !== 'string' || !UUID.test(id)) throw wrong('id', id);
  switch (kind) {
    case 'call':
      if (!isNodeId(from)) throw wrong('from', from);
      return { kind, id, from };
    case 'question':
      if (!isNodeId(from)) throw wrong('from', from);
      return { kind, id, from, body };
    case 'answer':
      return { kind, id, body };
    case 'failure':
      if (reason !== 'tooLong' && reason !== 'failed') throw wrong('reason', reason);
      return { kind, id, reason };
    default:
      throw wrong('kind', kind);
  }
}

function wrong(property: string, value: unknown): InvalidMessageError {
  return new InvalidMessageError(`"${property}" of a packet of another node is not ${kindOf(value)}`);
}
