import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ListenerList } from '../../../lib/core/listener-list.js';
import { Templates } from '../../../lib/core/templates.js';
import { isOfTemplate } from '../../../lib/protocol/channel-name.js';

const list = (name: string): ListenerList => new ListenerList(name, () => {});
const rankOf = (template: string): string =>
  template.replaceAll(/[^/]+/g, (part) => (part.startsWith(':') ? '1' : '0'));

// Few segments, so that many templates and names share some.
const path = (...segments: string[]) =>
  fc
    .array(fc.constantFrom(...segments), { minLength: 1, maxLength: 4 })
    .map((parts) => parts.map((part, index) => (part === ':' ? `:p${index}` : part)).join('/'));
const template = fc.oneof(path('a', 'b', ':', ':'), path('a', ':', ':other'), fc.constant('messaging:source/:key'));
const name = fc.oneof(
  path('a', 'b', 'c', ''),
  fc.constantFrom('messaging:source/7', 'messaging:source/%', 'messaging:node/7'),
);

const byName = (one: ListenerList, other: ListenerList): number => (one.name < other.name ? -1 : 1);

describe('The templates that are listened to', () => {
  test('are found by name exactly as in a search one by one', () => {
    fc.assert(
      fc.property(fc.uniqueArray(template), fc.array(fc.nat()), name, (all, removed, channel) => {
        const templates = new Templates<ListenerList>();
        const lists = new Map(all.map((each) => [each, list(each)]));
        for (const each of lists.values()) templates.add(each);
        for (const index of removed) {
          const gone = lists.get(all[index % all.length]!);
          if (gone === undefined) continue;
          templates.remove(gone);
          lists.delete(gone.name);
        }
        const expected = [...lists.values()].filter((each) => isOfTemplate(each.name.split('/'), channel.split('/')));
        expect(templates.match(channel).toSorted(byName)).toEqual(expected.toSorted(byName));
        // Of those, the ones that come first: a literal segment before a parameter.
        const [best] = expected.map(({ name: each }) => rankOf(each)).toSorted();
        const mostLiteral = expected.filter(({ name: each }) => rankOf(each) === best);
        expect(templates.mostLiteral(channel).toSorted(byName)).toEqual(mostLiteral.toSorted(byName));
        expect(templates.isEmpty).toBe(lists.size === 0);
      }),
      { numRuns: 1_000 },
    );
  });

  test('leave nothing behind', () => {
    const templates = new Templates<ListenerList>();
    const lists = ['users/:id', 'users/:id/name', ':any', 'a/:b/c'].map(list);
    for (const each of lists) templates.add(each);
    for (const each of lists) templates.remove(each);
    expect(templates['root'].isEmpty).toBe(true);
    expect(templates['byName'].size).toBe(0);
  });

  test('are removed by identity, not by name', () => {
    const templates = new Templates<ListenerList>();
    const there = list('users/:id');
    templates.add(there);
    templates.remove(list('users/:id'));
    expect(templates.get('users/:id')).toBe(there);
    expect(templates.match('users/7')).toEqual([there]);
  });
});
