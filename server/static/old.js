// Says that a browser is too old, where app.js and obs.js do not begin: in words that every browser reads. What is asked for are the
// newest things that the oldest browsers have which do: see OLDEST in sdk/js/build.mjs.
(function () {
  if ("noModule" in document.createElement("script") && Array.prototype.at && window.HTMLDialogElement) return;
  document.body.innerHTML = '<main class="old"><div role="alert"><h1>This browser is too old for this page.</h1><p>' +
    "Chrome and Edge will do from version 92 on, Firefox from 115, Safari from 16.4, OBS from 28.</p></div></main>";
})();
