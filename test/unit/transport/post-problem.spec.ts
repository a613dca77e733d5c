import { beforeEach, describe, expect, test } from '@jest/globals';
import { PostProblem } from '../../../lib/transport/post-problem.js';

let told: string[];
let plain: PostProblem;
let histories: PostProblem;

function create(name: string): PostProblem {
  return new PostProblem({
    refused: ({ message }) => told.push(`${name}: ${message}`),
    unanswered: () => told.push(`${name}: unanswered`),
    answered: () => told.push(`${name}: answered`),
  });
}

beforeEach(() => {
  told = [];
  [plain, histories] = [create('plain'), create('histories')];
  plain.join(histories);
});

describe('A post without an answer', () => {
  test('is no news if Redis has accepted one of either kind in time since it was sent', () => {
    const { accepts } = plain;
    plain.accepted('news', true);
    plain.unanswered(accepts);
    histories.unanswered(accepts);
    expect(told).toEqual([]);
    histories.unanswered(histories.accepts);
    expect(told).toEqual(['histories: unanswered']);
  });

  test('is the problem of both kinds until Redis accepts one of either kind in time', () => {
    plain.unanswered(plain.accepts);
    histories.unanswered(histories.accepts);
    plain.accepted('news', false);
    expect(told.splice(0)).toEqual(['plain: unanswered', 'histories: unanswered']);
    histories.accepted('news', true);
    expect(told).toEqual(['histories: answered', 'plain: answered']);
  });
});

test('A refusal of one kind of posts stays until Redis accepts one of that kind, even late', () => {
  plain.refused('news', new Error('OOM'));
  histories.accepted('news', true);
  expect(told).toEqual(['plain: OOM']);
  plain.accepted('news', false);
  expect(told).toEqual(['plain: OOM', 'plain: answered']);
});
