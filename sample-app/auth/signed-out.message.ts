import { Serializable, defineChannel } from 'nestjs-messaging';

/** Somebody has signed out: cookies of this sign-in are not good any more, on any server. */
@Serializable()
export class SignedOut {
  constructor(
    readonly userId: string,
    readonly authId: string,
    /** When the cookie would have expired by itself. */
    readonly expiresAt: number,
  ) {}
}

export const SignOuts = defineChannel('sign_outs', SignedOut);
