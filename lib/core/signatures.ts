import { createHmac, createSecretKey, timingSafeEqual, type KeyObject } from 'node:crypto';
import { RESERVED_PREFIX } from '../protocol/channel-name.js';
import { InvalidMessageError } from '../protocol/errors.js';
import { isOfSource } from '../protocol/source.js';
import { SeenOnce } from './seen-once.js';

const FIELD = ',"sig":"';
const END = '"}';
/** The length of an HMAC of 32 bytes in base64url. */
const SIGNATURE_LENGTH = 43;
const SUFFIX_LENGTH = FIELD.length + SIGNATURE_LENGTH + END.length;
/** The beginning of an envelope by `encodeEnvelope`, up to the time. */
const POSTED_AT = /^\{"metadata":\{"v":\d+,"node":"[^"\\]*","at":(\d{1,15})[,}]/;
/** How far a message of another node may be behind or ahead of the local clock. */
export const SIGNED_WITHIN_MS = 60_000;

/** Differences in the setup of other nodes, as far as their messages show them. */
type Fault = 'unsigned here' | 'unsigned there' | 'other secret';

const FAULTS: Record<Fault, string> = {
  'unsigned here':
    'Other servers sign what they send (option "secret"), but this one has no secret: they refuse its questions, answers and ' +
    'revocations. Give all servers of the application the same secret',
  'unsigned there':
    'Unsigned messages arrive on channels of this library and are refused: a server of this application has no "secret", ' +
    'or something else writes to this Redis. Give all servers of the application the same secret',
  'other secret':
    'Messages arrive on channels of this library with a signature that no "secret" of this server has made, and are refused: the servers have ' +
    'different secrets, or something else writes to this Redis. To change a secret, give all servers both first',
};

/**
 * Signs the envelopes of the library's own channels, and refuses envelopes without a valid signature. A signature is the last property
 * of the envelope and covers everything before it and the name of the channel. Without a secret, envelopes are not signed, and any is
 * accepted.
 *
 * Messages of sources use reserved channels too, but belong to the application: they are not signed.
 */
export class Signatures {
  /** Whether there is a secret. */
  readonly isOn: boolean;
  private readonly keys: readonly KeyObject[];
  private readonly seen = new SeenOnce(SIGNED_WITHIN_MS);
  private readonly told = new Set<Fault>();

  /**
   * @param secrets - the first one signs, all are accepted
   * @param application - distinguishes this application from others that may have the same secret
   * @param tell - called once for each difference in the setup of the servers
   */
  constructor(
    secrets: readonly string[],
    application: string,
    private readonly tell: (fault: string) => void,
  ) {
    this.isOn = secrets.length > 0;
    // A key for each purpose and application: a signature by one is not valid for another.
    this.keys = secrets.map((secret) =>
      createSecretKey(createHmac('sha256', secret).update(`nestjs-messaging envelopes of ${application}`).digest()),
    );
  }

  /** Signs an envelope if its channel is the library's own. Requires a secret. */
  sign(channel: string, envelope: string): string {
    if (!isSigned(channel)) return envelope;
    return `${envelope.slice(0, -1)}${FIELD}${signatureOf(this.keys[0]!, channel, envelope)}${END}`;
  }

  /**
   * Returns the envelope from a payload that arrived on a reserved channel.
   *
   * @param subscription - the subscription it came through; it may come once through each
   * @param isKept - whether it was read from a history. If so, age and repeated reads do not matter
   * @throws InvalidMessageError if this secret has not signed it within the accepted time
   */
  open(payload: string, subscription: string, channel: string, isKept: boolean): string {
    if (!isSigned(channel)) return payload;
    const end = payload.length - SUFFIX_LENGTH;
    const isUnsigned = !payload.startsWith(FIELD, end) || !payload.endsWith(END);
    if (!this.isOn) {
      if (!isUnsigned) this.tellOnce('unsigned here');
      return payload;
    }
    if (isUnsigned) throw this.refused('unsigned there', 'it is not signed');
    const envelope = `${payload.slice(0, end)}}`;
    const given = Buffer.from(payload.slice(end + FIELD.length, -END.length), 'latin1');
    for (const key of this.keys) {
      const signature = signatureOf(key, channel, envelope);
      if (!timingSafeEqual(Buffer.from(signature, 'latin1'), given)) continue;
      if (!isKept) this.assertNew(envelope, subscription === channel ? signature : `${signature} ${subscription}`);
      return envelope;
    }
    throw this.refused('other secret', 'its signature is wrong');
  }

  private assertNew(envelope: string, id: string): void {
    const at = Number(POSTED_AT.exec(envelope)?.[1]);
    const now = Date.now();
    const outcome = this.seen.add(id, at, now);
    if (outcome === 'new') return;
    throw new InvalidMessageError(
      outcome === 'repeated'
        ? 'it was received before; somebody has sent it again'
        : `it was signed ${Math.abs(now - at)} ms ${at > now ? 'from now' : 'ago'} by the clock of its server: ` +
            'somebody has sent it again, or the clocks of the servers differ',
    );
  }

  private refused(fault: Fault, problem: string): InvalidMessageError {
    this.tellOnce(fault);
    return new InvalidMessageError(`${problem} (option "secret")`);
  }

  private tellOnce(fault: Fault): void {
    if (this.told.has(fault)) return;
    this.told.add(fault);
    this.tell(FAULTS[fault]);
  }
}

function isSigned(channel: string): boolean {
  return channel.startsWith(RESERVED_PREFIX) && !isOfSource(channel);
}

function signatureOf(key: KeyObject, channel: string, envelope: string): string {
  return createHmac('sha256', key).update(`${channel.length}:${channel}${envelope}`).digest('base64url');
}
