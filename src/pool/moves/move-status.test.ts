import { describe, expect, test } from 'vitest';
import { MoveMeter } from './move-status.ts';

describe('how far moves are', () => {
  test('is reckoned from the forecasts of those that have begun, with as many keys for each slot of the others', () => {
    const meter = new MoveMeter();
    expect(meter.read(40)).toMatchObject({ keysExpected: 0, walkedShare: 0, secondsLeft: undefined });
    meter.expect(100, 10);
    meter.count(50, 500);
    expect(meter.read(30)).toMatchObject({ keysMoved: 50, keysExpected: 400, walkedShare: 0.5 });
    meter.count(50, 500);
    meter.ended();
    expect(meter.read(30)).toMatchObject({ keysExpected: 400, walkedShare: 0 });
    meter.expect(300, 10);
    meter.count(75, 750);
    // 400 keys on 20 slots so far, and 20 slots to begin.
    expect(meter.read(20)).toMatchObject({ keysMoved: 175, keysExpected: 800, walkedShare: 0.25 });
  });

  test('is never more than all, when keys came that the forecast did not know', () => {
    const meter = new MoveMeter();
    meter.expect(10, 1);
    meter.count(20, 200);
    expect(meter.read(0)).toMatchObject({ walkedShare: 1, secondsLeft: 0 });
  });
});
