import type { Admission } from '../core/recovery.js';
import type { Position } from '../protocol/position.js';
import { nodeOfEpoch, type Admissions } from './admission.js';
import { NativePosition } from './native-position.js';

/** How far a client says that it has read a channel. Nothing of it is checked yet, and only the node that it names can. */
export interface Claim {
  /** None if it is of no node. */
  readonly node: string | undefined;
  readonly offset: number;
  /** What proves it: the epoch of a position, or what a native EventSource has sent for all of its channels. */
  readonly proof: string | NativeProof;
}

/** The `Last-Event-ID` of a native EventSource, with the names of its URL. */
export class NativeProof {
  /** Nothing if no node could have sent it. */
  readonly position: NativePosition | undefined;
  private isOwn: boolean | undefined = undefined;

  constructor(
    readonly id: string,
    readonly names: readonly string[],
  ) {
    this.position = NativePosition.read(id, names.length);
  }

  /** What the EventSource claims of the channels of its URL; nothing of those that its stream did not have. */
  get claims(): Map<string, Claim> {
    const { position, names } = this;
    const claims = new Map<string, Claim>();
    const places = position?.places;
    names.forEach((name, index) => {
      const place = places?.[index];
      if (places !== undefined && place === undefined) return;
      claims.set(name, { node: position?.node, offset: place?.offset ?? 0, proof: this });
    });
    return claims;
  }

  /** See {@link admissionFor}. */
  admission(name: string, admissions: Admissions): Admission | undefined {
    this.isOwn ??= this.position?.isOf(admissions, this.names) ?? false;
    return this.isOwn ? this.position!.places[this.names.indexOf(name)]?.admission : undefined;
  }
}

/** What a client claims that sends positions with its channels. */
export function claimOf({ epoch, offset }: Position): Claim {
  return { node: nodeOfEpoch(epoch), offset, proof: epoch };
}

/** What this node has let a client in to that claims to have read a channel; nothing if it has not. */
export function admissionFor(name: string, { proof }: Claim, admissions: Admissions): Admission | undefined {
  return typeof proof === 'string' ? admissions.read(name, proof) : proof.admission(name, admissions);
}
