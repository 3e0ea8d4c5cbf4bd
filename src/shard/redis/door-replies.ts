// What the commands of the HTTP door answer.

export const CREATED = 1;
export const REPLACED = 0;
export const CONDITION_FAILED = -1;
export const DELETED = 1;
export const ABSENT = 0;
