/** A node leaves this long after its last answer: the answer must reach the broker, and a returning client may have another question. */
const QUIET_MS = 250;
/** The same after an answer that says that there is more: the other node, which may be busy, asks for that as well. */
const MORE_MS = 2_000;

/** Call it when a question is answered. @param isWhole - whether nothing is left to ask for */
export type Answered = (isWhole: boolean) => void;

/** What a node still owes others that ask about its former clients: it must not leave before. */
export class OwedAnswers {
  /** Called when nothing is being answered any more. */
  onIdle: () => void = () => {};
  private underWay = 0;
  private quietAt = -Infinity;

  /** Call it when a question has arrived. */
  begin(): Answered {
    this.underWay++;
    return (isWhole) => {
      this.underWay--;
      this.quietAt = Math.max(this.quietAt, performance.now() + (isWhole ? QUIET_MS : MORE_MS));
      if (this.underWay === 0) this.onIdle();
    };
  }

  /** When nothing is owed any more, unless somebody asks again; `Infinity` while a question is being answered. */
  get until(): number {
    return this.underWay > 0 ? Infinity : this.quietAt;
  }
}
