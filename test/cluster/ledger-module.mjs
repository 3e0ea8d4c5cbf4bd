// Values whose every change answers the whole of what there is now, so that histories of many clients can be judged: counters and lists of words.
export default {
  name: 'ledger',
  command(_ctx, value = '', command) {
    const next = command.kind === 'add' ? String(Number(value) + command.amount) : `${value}${command.item} `;
    return { reply: next, value: next };
  },
  query(_ctx, value) {
    return { answer: value ?? '' };
  },
};
