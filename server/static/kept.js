// What a page keeps for its next time: in its tab, or in its browser. One that blocks all cookies keeps nothing, and throws when asked.

export const tab = keeper(() => sessionStorage), browser = keeper(() => localStorage);

function keeper(storage) {
  const may = (work) => {
    try {
      return work(storage());
    } catch {
      return null;
    }
  };
  return {
    get: (name) => may((kept) => kept.getItem(name)),
    set: (name, value) => may((kept) => kept.setItem(name, value)),
    forget: (name) => may((kept) => kept.removeItem(name)),
  };
}
