// What a page does besides what HTML does by itself. Without this script everything still works.

const form = document.querySelector("form.record");
const book = document.querySelector("[data-live]"); // the newest page of messages

// Ctrl+Enter, or Cmd+Enter on a Mac, records.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.target.closest?.("form.record")?.requestSubmit();
});

// The text area grows with its text by CSS (field-sizing); this is for browsers that do not know that yet.
const grow = (area) => {
  if (CSS.supports("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight}px`;
};
form?.msg.addEventListener("input", () => grow(form.msg));
if (form) grow(form.msg);

const parse = (html) => new DOMParser().parseFromString(html, "text/html");

// The rest is for the newest page: it shows what is recorded while it is open, and records without being loaded again.
if (book) live(book);

function live(book) {
  const number = (entry) => Number(entry.id.replace("message-", ""));
  const date = (day) => day.querySelector("h2 time").dateTime;

  const longest = 1000; // entries, of a page that has been open for long
  let newest = Math.max(0, ...[...book.querySelectorAll(".entry")].map(number)); // that has come
  let later = []; // what is to be shown when it moves nothing that is being read

  const status = document.createElement("div"); // is read out when it changes
  status.className = "news";
  status.setAttribute("role", "status");
  book.before(status);

  // add puts an entry of another document where it belongs: on top.
  const add = (entry) => {
    const from = entry.closest(".day");
    let day = book.querySelector(".day");
    if (!day || date(day) !== date(from)) {
      day = document.importNode(from, true);
      day.querySelector(".entries").replaceChildren();
      book.querySelector(".empty")?.remove();
      book.prepend(day);
    }
    day.querySelector(".entries").prepend(document.importNode(entry, true));
  };

  const replace = (page) => {
    book.replaceChildren(...page.querySelector("[data-live]").childNodes);
    newest = Math.max(newest, ...[...book.querySelectorAll(".entry")].map(number));
  };

  // come takes what has come, and shows it, or how much it is.
  const come = (count, show) => {
    later.push({ count, show });
    if (book.getBoundingClientRect().top >= 0) return showAll();
    const n = later.reduce((sum, { count }) => sum + count, 0);
    const button = document.createElement("button");
    button.textContent = n === 1 ? "1 new message" : `${n} new messages`;
    button.addEventListener("click", () => {
      showAll();
      book.tabIndex = -1;
      book.focus({ preventScroll: true });
      scrollTo({ top: 0 });
    });
    status.replaceChildren(button);
  };

  const showAll = () => {
    if (later.length === 0) return;
    for (const { show } of later.splice(0)) show();
    status.replaceChildren();
    if (book.querySelectorAll(".entry").length > longest) load().then(replace, () => {}); // one page again
  };
  document.addEventListener("scroll", () => {
    if (book.getBoundingClientRect().top >= 0) showAll();
  }, { passive: true });

  // merge takes what a page has that has not come yet, or all of it if more has been recorded than a page shows.
  const merge = (page) => {
    const entries = [...page.querySelectorAll("[data-live] .entry")].reverse();
    const missing = entries.filter((entry) => number(entry) > newest);
    if (missing.length === 0) return;
    newest = number(missing.at(-1));
    if (missing.length === entries.length && page.querySelector("a[rel=next]")) {
      later = [];
      come(missing.length, () => replace(page));
      return;
    }
    come(missing.length, () => missing.forEach(add));
  };

  const load = async () => {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!response.ok) throw new Error(response.statusText);
    return parse(await response.text());
  };

  // While it is shown, the page listens. A browser has only few connections to a server, so a hidden one does not.
  let source;
  const told = []; // what has come since the page was last drawn: to draw it for each of thousands would take minutes
  const mergeTold = () => merge(parse(`<div data-live>${told.splice(0).reverse().join("")}</div>`));
  const listen = () => {
    if (source || document.hidden) return;
    source = new EventSource(`${book.dataset.live}?after=${newest}`);
    source.onmessage = ({ data }) => {
      if (told.push(data) === 1) requestAnimationFrame(mergeTold);
    };
    source.onerror = () => { // a server that stops ends all streams: they shall not all come back at once
      quit();
      setTimeout(comeBack, 1000 + 4000 * Math.random());
    };
  };
  const quit = () => {
    source?.close();
    source = undefined;
  };
  const comeBack = async () => {
    if (source || document.hidden) return;
    await load().then(merge).catch(() => {}); // while the server is away, listening fails, too, and is tried again
    listen();
  };
  document.addEventListener("visibilitychange", () => document.hidden ? quit() : comeBack());
  addEventListener("pagehide", quit);
  addEventListener("pageshow", ({ persisted }) => persisted && comeBack());
  listen();

  // Recording, without leaving the page.
  const complain = (problem) => {
    form.querySelector(".problem")?.remove();
    form.msg.removeAttribute("aria-invalid");
    form.msg.removeAttribute("aria-describedby");
    if (!problem) return;
    const alert = document.createElement("p"); // is read out when it appears
    alert.className = "problem";
    alert.id = "problem";
    alert.setAttribute("role", "alert");
    alert.textContent = problem;
    form.prepend(alert);
    form.msg.setAttribute("aria-invalid", "true");
    form.msg.setAttribute("aria-describedby", "problem");
    form.msg.focus();
  };

  // A key of its own for each message, wherever the next page may be. crypto.randomUUID is not there without HTTPS.
  const newKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

  // show shows what has just been recorded. If the list cannot be had now, the stream brings it.
  const show = async ({ id }) => {
    await load().then(merge).catch(() => {});
    showAll();
    if (newest < id) status.textContent = "It is recorded, and will appear here.";
  };

  // It asks for JSON, as that is answered with 201 if the message is recorded, and only then. For a page, the answer would be a
  // redirect: to the list, which may fail to come although the message is recorded, or to where a proxy has its visitors log in.
  const record = async () => {
    const sent = form.msg.value;
    const response = await fetch(form.action, {
      method: "POST",
      headers: { Accept: "application/json" },
      body: new URLSearchParams(new FormData(form)),
    });
    const answer = response.json().catch(() => ({})); // it is not ours, or has broken off
    const recorded = response.status === 201;
    if (recorded || response.status === 422) form.key.value = newKey(); // a message has the old one: this one, or another
    if (!recorded) {
      complain((await answer).detail ?? "It was not recorded.");
      return;
    }
    complain("");
    if (form.msg.value.startsWith(sent)) form.msg.setRangeText("", 0, sent.length); // and what was typed meanwhile stays
    grow(form.msg);
    answer.then(show); // the next message need not wait for that
  };

  let underWay = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (underWay) return;
    underWay = true;
    try {
      await record();
    } catch {
      complain("The book cannot be reached. The message is still here, and can be recorded again.");
    } finally {
      underWay = false;
    }
  });

  // Where the book is, seen from here: a proxy may have put it elsewhere.
  const command = book.querySelector(".empty code");
  if (command) command.textContent = `curl -d 'hello world' ${form.action.replace("http://", "")}`;
}
