import { Serializable } from 'nestjs-messaging';

/** The first event of every stream: the page starts afresh, with what follows. */
@Serializable()
export class Welcome {
  constructor(
    readonly userId: string,
    readonly roomId: string,
    /** Which server this is; empty where there is only one. */
    readonly server: string,
  ) {}
}

/** Something was said in a room that is not open on this page. */
@Serializable()
export class RoomActivity {
  constructor(readonly roomId: string) {}
}
