import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { isNodeId } from '../core/node-packet.js';
import { randomNumber } from '../core/random-number.js';
import type { Admission } from '../core/recovery.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';

/** 96 bits, 16 characters as text. */
const MAC_BYTES = 12;
/** 128 bits. */
const OWNER_BYTES = 16;
/** The longest {@link positionOwner}, in characters. */
export const MAX_OWNER_LENGTH = 22;
const EPOCH = /^([\da-f-]{36})\.([\w.-]{3,36})\.([\w-]{16})$/;
const ADMISSION = /^([\da-z]{1,11})\.([\da-z]{1,11})(?:-([\da-z]{1,11}))?$/;

/** The node that issued an epoch; only that node can read it. `undefined` if no node issued it. */
export function nodeOfEpoch(epoch: string): string | undefined {
  const node = EPOCH.exec(epoch)?.[1];
  return isNodeId(node) ? node : undefined;
}

/** The owner of a position: a user, whatever their sign-in; empty for an anonymous client. A short hash of the user's id. */
export function positionOwner(auth: AuthenticationInfo | null): string {
  if (auth === null) return '';
  return createHash('sha256').update(String(auth.userId)).digest().subarray(0, OWNER_BYTES).toString('base64url');
}

/**
 * Writes and reads the epochs for clients of this node: `<node>.<log>.<admitted>.<mac>`. A client can neither make nor change one, nor
 * use one of another channel or user. An epoch is made once for each channel and stream, never for each message.
 */
export class Admissions {
  /**
   * @param node - its id
   * @param secret - never leaves this node: no other node has to check its epochs
   */
  constructor(
    readonly node: string,
    private readonly secret: Uint8Array = randomBytes(32),
  ) {}

  /** The epoch of a client's position under a name. @param owner - see {@link positionOwner} */
  epoch(owner: string, name: string, admission: Admission): string {
    const text = writeAdmission(admission);
    return `${this.node}.${text}.${this.mac(owner, [name], text)}`;
  }

  /** Reads an epoch; `undefined` unless this node issued it to this owner for this name. */
  read(owner: string, name: string, epoch: string): Admission | undefined {
    const [, node, text, mac] = EPOCH.exec(epoch) ?? [];
    if (node !== this.node || text === undefined || !this.isMac(mac, owner, [name], text)) return undefined;
    return readAdmission(text);
  }

  /** A unique number for a stream. */
  nextStream(): number {
    return randomNumber();
  }

  /** Signs admissions together with their owner and their names, in order. */
  mac(owner: string, names: readonly string[], admissions: string): string {
    // Names contain no control characters, so the parts cannot be confused.
    const text = `${owner}\n${names.join('\0')}\n${admissions}`;
    return createHmac('sha256', this.secret).update(text).digest().subarray(0, MAC_BYTES).toString('base64url');
  }

  /** Whether it is the {@link mac} of these values, compared in constant time. */
  isMac(mac: string | undefined, owner: string, names: readonly string[], admissions: string): boolean {
    const expected = Buffer.from(this.mac(owner, names, admissions));
    const given = Buffer.from(mac ?? '');
    return given.length === expected.length && timingSafeEqual(given, expected);
  }
}

/** Writes an admission as text: `<log>.<admitted>`, then `-<cut>`, in base 36. */
export function writeAdmission({ log, admitted, cut }: Admission): string {
  const text = `${log.toString(36)}.${admitted.toString(36)}`;
  return cut === undefined ? text : `${text}-${cut.toString(36)}`;
}

/** @returns `undefined` for a text that {@link writeAdmission} cannot have written */
export function readAdmission(text: string): Admission | undefined {
  const [, ...parts] = ADMISSION.exec(text) ?? [];
  const [log, admitted, cut] = parts.map((part) => (part === undefined ? undefined : readNumber(part)));
  if (log === undefined || admitted === undefined || (cut === undefined) !== (parts[2] === undefined)) return undefined;
  return cut === undefined ? { log, admitted } : { log, admitted, cut };
}

/** @returns `undefined` unless the text is a whole number from 0 to 2^53 - 1 in base 36, in its only valid form */
export function readNumber(text: string): number | undefined {
  const number = Number.parseInt(text, 36);
  return Number.isSafeInteger(number) && number >= 0 && number.toString(36) === text ? number : undefined;
}
