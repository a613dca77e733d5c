import { describe, expect, test } from '@jest/globals';
import { countedAddress } from '../../../lib/nest/client-addresses.js';

describe('The counted address of a client', () => {
  test.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['::FFFF:C000:0207', '192.0.2.7'],
    ['192.0.2.7:4711', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2:ffff::1', '2001:db8:1:2::/64'],
    ['[2001:db8:1:2::9]:443', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:db8:0:0:1:2:3:4', '2001:db8:0:0::/64'],
    ['2001:0:0:1::5', '2001:0:0:1::/64'],
    ['64:ff9b::192.0.2.7', '64:ff9b:0:0::/64'],
    ['::2', '0:0:0:0::/64'],
  ])('of %s is %s', (text, counted) => {
    expect(countedAddress(text, false)).toBe(counted);
    expect(countedAddress(text, true)).toBe(counted);
  });

  const alone = ['127.0.0.1', '127.9.9.9', '10.1.2.3', '172.16.0.1', '172.31.255.255', '192.168.1.1', '169.254.1.1'];
  test.each([...alone, '100.64.0.1', '::ffff:10.1.2.3', '::1', 'fd00::1', 'fe80::1%eth0'])(
    'is undefined for the private %s, unless a trusted proxy names it',
    (text) => {
      expect(countedAddress(text, false)).toBeUndefined();
      expect(countedAddress(text, true)).toEqual(expect.any(String));
    },
  );

  test.each(['172.32.0.1', '11.0.0.1', '100.128.0.1', 'fb00::1'])('is defined for the public %s', (text) => {
    expect(countedAddress(text, false)).toEqual(expect.any(String));
  });

  test.each([
    '',
    'unknown',
    '_hidden',
    '1.2.3',
    '1.2.3.4.5',
    '[',
    '[]:1',
    'x'.repeat(100_000),
    '1.2.3.4, 5.6.7.8',
    ':::',
  ])('is the same for all unreadable addresses from a trusted proxy: %#', (text) => {
    expect(countedAddress(text, true)).toBe('unknown');
    expect(countedAddress(text, false)).toBeUndefined();
  });
});
