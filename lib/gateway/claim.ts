import type { Admission } from '../core/recovery.js';
import { isChannelName } from '../protocol/channel-name.js';
import type { Position } from '../protocol/position.js';
import { nodeOfEpoch, type Admissions } from './admission.js';
import { clientPosition } from './history-place.js';
import { NativePosition } from './native-position.js';

/** A client's statement of how far it has read a channel. It is unchecked, and only the node that it names can check it. */
export interface Claim {
  /** `undefined` if the claim names no valid node. */
  readonly node: string | undefined;
  readonly offset: number;
  /** The proof: the epoch of a position, or the id that a native EventSource sent for all of its channels. */
  readonly proof: string | NativeProof;
}

/**
 * The `Last-Event-ID` of a native EventSource, with the names of its URL. Only valid channel names that the stream had go to other nodes.
 */
export class NativeProof {
  /** `undefined` if no node can have sent it. */
  readonly position: NativePosition | undefined;
  readonly names: readonly string[];
  private readonly places: NativePosition['places'];
  private verified: { readonly owner: string; readonly isOwn: boolean } | undefined = undefined;

  constructor(
    readonly id: string,
    private readonly asked: readonly string[],
  ) {
    const position = NativePosition.read(id, asked.length);
    this.names = position?.namesIn(asked) ?? [];
    // No node admits clients to an invalid name.
    const places = position?.places ?? [];
    const isSane = asked.every((name, index) => {
      const place = places[index];
      return place === undefined || 'epoch' in place || isChannelName(name);
    });
    [this.position, this.places] = isSane ? [position, places] : [undefined, []];
  }

  /** The claims of the EventSource about the channels of its URL, without those that its stream did not have. */
  get claims(): Map<string, Claim> {
    const { position, places, asked } = this;
    const claims = new Map<string, Claim>();
    asked.forEach((name, index) => {
      const place = places[index];
      if (position !== undefined && place === undefined) return;
      if (place !== undefined && 'epoch' in place) claims.set(name, claimOf(clientPosition(place)));
      else claims.set(name, { node: position?.node, offset: place?.offset ?? 0, proof: this });
    });
    return claims;
  }

  /** The stream it belongs to, if this node issued it to this owner. */
  streamOn(owner: string, admissions: Admissions): string | undefined {
    if (this.verified?.owner !== owner) {
      this.verified = { owner, isOwn: this.position?.isOf(admissions, owner, this.names) ?? false };
    }
    return this.verified.isOwn ? this.position!.stream : undefined;
  }

  /** See {@link admissionFor}. */
  admission(name: string, owner: string, admissions: Admissions): Admission | undefined {
    if (this.streamOn(owner, admissions) === undefined) return undefined;
    const place = this.places[this.names.indexOf(name)];
    return place !== undefined && 'admission' in place ? place.admission : undefined;
  }
}

/** The claim of a client that sends positions with its channels. */
export function claimOf({ epoch, offset }: Position): Claim {
  return { node: nodeOfEpoch(epoch), offset, proof: epoch };
}

/**
 * The admission that a claim proves; `undefined` if the claim is not valid.
 *
 * @param owner - the client, see `positionOwner`
 */
export function admissionFor(
  name: string,
  owner: string,
  { proof }: Pick<Claim, 'proof'>,
  admissions: Admissions,
): Admission | undefined {
  return typeof proof === 'string' ? admissions.read(owner, name, proof) : proof.admission(name, owner, admissions);
}
