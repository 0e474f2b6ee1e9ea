package main

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// language is words that people record, the most frequent first, and what stands between them.
type language struct {
	between string
	words   []string
}

// languages are those of the varied messages. More than half of these are in the first one.
var languages = []language{
	{" ", strings.Fields(`
		the and to a of in was for it on at is with that we had not be he from by as again she have but this they were all
		will are one when there no which new after out up been before more has so their who them two now then gate time
		back over only its open day could into some than my other our what would first can about water door until house him
		report checked morning week server room her said left down three last order customer call meeting key list number
		today tomorrow yesterday Anna night work lights off closed parts under still between began nothing through found
		backup files copied minutes hours office need long next street window garden train letter because between four
		old left right made paid sent asked told came went took gave kept brought ready late early second small large
		during Monday Tuesday Wednesday Thursday Friday Saturday Sunday January March April August October winter summer
		rain snow wind storm temperature pressure valve pump filter replaced repaired broken cleaned delivered received
		invoice contract signed copy printed question answer problem solved password changed account error warning restart
		update version release failed passed test branch merged review network cable switch battery charged empty full
		kitchen bathroom cellar roof stairs fence path bridge river market bakery doctor hospital school teacher pupil
		birthday party dinner lunch breakfast coffee bread cheese apples potatoes onions butter recipe oven boiled fried
		Michael Sarah Thomas Julia Peter Elizabeth Christopher Margaret London Cambridge Brighton Manchester Edinburgh
		neighbour visitor engineer manager driver passenger committee department ministry agreement appointment holiday
		luggage platform departure arrival airport ferry harbour lighthouse beautiful strange difficult possible necessary
		approximately immediately unfortunately probably certainly everything somebody themselves whatever although whether`)},
	{" ", strings.Fields(`
		die der und in zu den das nicht von sie ist des sich mit dem dass er es ein ich auf so eine auch als an nach wie im
		für man aber aus durch wenn nur war noch werden bei hat wir was wird sein einen welche sind oder um haben einer mir
		über ihm diese einem ihr uns da zum zur kann doch vor dieser mich ihn du hatte seine mehr am denn nun unter sehr
		selbst schon hier bis habe ihre dann ihnen seiner alle wieder meine Zeit gegen vom ganz einzelnen wo muss ohne eines
		können Tür Hof Schlüssel Rechnung geprüft geschlossen geöffnet Straße Büro Wärme Kühlung Übergabe morgen gestern
		heute Montag Dienstag Mittwoch Donnerstag Freitag Lieferung bestellt bezahlt Ersatzteil Störung behoben Wartung
		Besprechung verschoben Bahnhof Verspätung Frühstück Gemüse Brötchen Nachbarin Müller Schäfer Größe groß klein`)},
	{" ", strings.Fields(`
		и в не на я быть он с что а по это она этот к но они мы весь который из у который то за свой что весь год от так о
		для ты же все тот мочь вы человек такой его сказать только или ещё бы себя один как уже до время если сам когда
		другой вот говорить наш мой знать стать при чтобы дело жизнь кто первый очень два день её новый рука даже во со раз
		где там под можно ну какой после их работа без самый потом надо хотеть ли слово идти большой должен место иметь
		ничто ворота открыты закрыты ключ дверь вода свет вчера сегодня завтра утро вечер понедельник вторник среда пятница
		сервер отчёт проверка ошибка заказ получен отправлен письмо встреча поезд вокзал дождь снег ремонт насос фильтр`)},
	{"", strings.Fields(`
		の に は を が と で た て も から まで です ます した ました して いる ある ない こと もの この その それ これ 今日 明日 昨日
		朝 夜 門 鍵 開いて 閉め 事務所 会議 電車 駅 雨 雪 風 天気 いい 悪い 東京 大阪 京都 水 火 電気 修理 交換 確認 報告 連絡 注文 届いた
		送った 買った 食べた 飲んだ 読んだ 書いた 見た 聞いた 話した 行った 来た 帰った 新しい 古い 大きい 小さい 早い 遅い 高い 安い
		田中さん 鈴木さん 佐藤さん 先生 学生 会社 学校 病院 図書館 公園 庭 花 木 鳥 犬 猫 魚 肉 野菜 果物 お茶 料理 写真 音楽 映画
		時間 午前 午後 月曜日 火曜日 水曜日 木曜日 金曜日 土曜日 日曜日 サーバー バックアップ エラー テスト データ コーヒー パン`)},
}

// rare is what only ten of the varied messages contain each.
var rare = []string{"heron", "marmalade windmill", "цапля", "白鷺", "€"}

// varied returns so many messages, the same ones each time: words as frequent as in what people write (Zipf's law), if not in an
// order that means something, and numbers.
func varied(n int) []string {
	random := rand.New(rand.NewPCG(1, 1))
	ranks := make([]*rand.Zipf, len(languages))
	for i, l := range languages {
		ranks[i] = rand.NewZipf(random, 1.1, 4, uint64(len(l.words)-1))
	}
	messages := make([]string, n)
	for i := range messages {
		language := 0
		if i%2 == 1 {
			language = i / 2 % len(languages)
		}
		words := make([]string, 3+random.IntN(20))
		for j := range words {
			words[j] = languages[language].words[ranks[language].Uint64()]
		}
		text := capital(strings.Join(words, languages[language].between))
		if random.IntN(3) == 0 {
			text += ": " + strconv.Itoa(random.IntN(100_000))
		}
		if every := n / 10 / len(rare); i%every == 0 {
			text += " " + rare[i/every%len(rare)]
		}
		messages[i] = text
	}
	return messages
}

// capital returns the text with its first letter in upper case.
func capital(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:]
}
