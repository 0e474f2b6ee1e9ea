// What a page does besides what HTML does by itself. Without this script everything still works.

// Ctrl+Enter, or Cmd+Enter on a Mac, records.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.target.closest?.("form.record")?.requestSubmit();
});

// The text area grows with its text by CSS (field-sizing); this is for browsers that do not know that yet.
if (!CSS.supports("field-sizing", "content")) {
  const grow = (area) => {
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  };
  document.addEventListener("input", (event) => {
    if (event.target.matches("form.record textarea")) grow(event.target);
  });
  document.querySelectorAll("form.record textarea").forEach(grow);
}
