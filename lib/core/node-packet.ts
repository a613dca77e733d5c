import { kindOf } from '../protocol/channel-name.js';
import { InvalidMessageError } from '../protocol/errors.js';

/** The packets between nodes: a question, its answer, or a failure if there is no answer; or a call. */
export type NodePacket =
  | NodeCall
  | { readonly kind: 'question'; readonly id: string; readonly from: string; readonly body: unknown }
  | { readonly kind: 'answer'; readonly id: string; readonly body: unknown }
  | { readonly kind: 'failure'; readonly id: string; readonly reason: FailureReason };

/**
 * Each node that hears a call answers it, without a body if nothing is asked. Nodes of earlier versions know neither `left` nor `of`: they
 * answer all calls without a body.
 */
export interface NodeCall {
  readonly kind: 'call';
  readonly id: string;
  readonly from: string;
  /** The sender has left for good, and knows that the others here have, too. Nobody answers it. */
  readonly left?: readonly string[] | undefined;
  /** Asks for a {@link NodeReport} about this node. */
  readonly of?: string | undefined;
}

/** What a node knows of another one: that it has left for good, or for how long nobody has heard it; `null`: nothing. */
export type NodeReport = { readonly left: true } | { readonly missingMs: number } | null;

/** How many nodes one call may name. */
export const MAX_LEFT_TOLD = 100;

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
  const { kind, id, from, reason, body, left, of } = value as Record<string, unknown>;
  if (typeof id !== 'string' || !UUID.test(id)) throw wrong('id', id);
  switch (kind) {
    case 'call':
      if (!isNodeId(from)) throw wrong('from', from);
      if (left !== undefined && !isListOfNodes(left)) throw wrong('left', left);
      if (of !== undefined && !isNodeId(of)) throw wrong('of', of);
      return { kind, id, from, left, of };
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

/** Reads the answer to a call about a node, by a node of whatever version. */
export function readNodeReport(report: unknown): { readonly left: boolean; readonly missingMs: number } {
  const { left, missingMs } = (report ?? {}) as Record<string, unknown>;
  return { left: left === true, missingMs: typeof missingMs === 'number' && missingMs >= 0 ? missingMs : 0 };
}

function isListOfNodes(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.length <= MAX_LEFT_TOLD && value.every(isNodeId);
}

function wrong(property: string, value: unknown): InvalidMessageError {
  return new InvalidMessageError(`"${property}" of a packet of another node is not ${kindOf(value)}`);
}
